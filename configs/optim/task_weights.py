"""Who minds in which units a loss is measured, and what is added to it.

Claim:  two digits overlaid, one loss each, a shared trunk. In accuracy on held-out
        pairs, when the first loss is a hundred times smaller, the plain sum and PCGrad
        lose at least 5 points on the first digit and MGDA at least 5 on the second;
        weights from the first losses, the current ones (their logarithms) and the norms
        of gradients move by less than 1.5 points on either. When 10 is added to the
        first loss, weights from the current losses lose at least 10 points on the first
        digit, and the sum, PCGrad, MGDA and the norms move by less than 1.5. Only the
        norms of gradients pass both.
Limits: weights act on all parameters, heads included, and Adam follows. Weights from
        the first losses do change with what is added, by a factor of five here; the
        plain sum of losses in like units forgives that, and little accuracy is lost.
Source: https://kexue.fm/archives/8870 and https://kexue.fm/archives/8896
Run:    python -m experiments.run --config=configs/optim/task_weights.py:log_shifted
Cost:   18 variants, 15 s each on two CPU cores.
"""

from ml_collections import ConfigDict

METHODS = ("sum", "initial", "log", "norm", "mgda", "pcgrad")
VARIANTS = tuple(
    f"{m}{change}" for m in METHODS for change in ("", "_scaled", "_shifted")
)
SMOKE = {"steps": 2, "task.held_out_batches": 1}


def get_config(variant="norm_shifted"):
    method, _, change = variant.partition("_")
    pairs = dict(make="kexue_jax.data.images:DigitPairs", canvas=11)
    task = dict(
        make="kexue_jax.tasks.multi_task:ManyLabels",
        model=dict(
            bind="kexue_jax.nn.perceptron:SharedTrunk",
            sizes=(121, 48, 48),
            heads=2,
            classes=10,
        ),
        source=dict(pairs, train=True, pairs=4000, batch_size=96, seed=0),
        held_out=dict(
            test=dict(pairs, train=False, pairs=2000, batch_size=100, seed=0)
        ),
        held_out_batches=20,
        scales=(1.0, 1.0),
        names=("first", "second"),
    )
    units = dict(
        bind="kexue_jax.losses.units:in_units",
        scales=(0.01 if change == "scaled" else 1.0, 1.0),
        shifts=(10.0 if change == "shifted" else 0.0, 0.0),
    )
    losses = "kexue_jax.optim.loss_weights"
    merges = {
        "sum": dict(make="kexue_jax.optim.surgery:sum_gradients"),
        "initial": dict(make=f"{losses}:initial_loss_weights", objectives=2),
        "log": dict(make=f"{losses}:real_time_loss_weights", objectives=2),
        "norm": dict(make="kexue_jax.optim.surgery:sum_unit_gradients"),
        "mgda": dict(make="kexue_jax.optim.gram_directions:mgda", objectives=2),
        "pcgrad": dict(
            make="kexue_jax.optim.pairwise_projections:pcgrad", objectives=2
        ),
    }
    optimizer = dict(
        make="kexue_jax.optim.chain:chain",
        order=("merge", "adam"),
        merge=merges[method],
        adam=dict(make="optax:adam", learning_rate=2e-3),
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=1500,
            log_every=10,
            eval_every=150,
            task=task,
            wrap=dict(order=("units",), units=units),
            optimizer=optimizer,
        )
    )


def claim(scores):
    first, second = (f"test/accuracy_{which}" for which in ("first", "second"))

    def fell(method, change, name):
        return scores[method][name] - scores[f"{method}_{change}"][name]

    def still(method, change):
        return (abs(fell(method, change, first)) < 0.015) & (
            abs(fell(method, change, second)) < 0.015
        )

    return {
        "scaled, the sum loses 5 points on the first": fell("sum", "scaled", first)
        > 0.05,
        "scaled, PCGrad loses 5 points on the first": fell("pcgrad", "scaled", first)
        > 0.05,
        "scaled, MGDA loses 5 points on the second": fell("mgda", "scaled", second)
        > 0.05,
        "scaled, initial losses do not move": still("initial", "scaled"),
        "scaled, current losses do not move": still("log", "scaled"),
        "scaled, norms do not move": still("norm", "scaled"),
        "shifted, current losses lose 10 points on the first": fell(
            "log", "shifted", first
        )
        > 0.1,
        "shifted, the sum does not move": still("sum", "shifted"),
        "shifted, PCGrad does not move": still("pcgrad", "shifted"),
        "shifted, MGDA does not move": still("mgda", "shifted"),
        "shifted, norms do not move": still("norm", "shifted"),
    }
