"""Unit gradients do not care in which units a loss is measured.

Claim:  two digits overlaid, one loss each, a shared trunk: when the first loss is
        measured in units a hundred times larger, the plain sum of gradients loses at
        least 5 points of its accuracy on the first digit, while the sum of unit
        gradients moves by less than 1 point on either.
Limits: invariance is exact in exact arithmetic only; Adam hides a common factor on both
        losses, not a factor on one. Where both losses are in like units, unit gradients
        are not better than the sum.
Source: https://kexue.fm/archives/8870
Run:    python -m experiments.run --config=configs/optim/unit_gradients.py:unit_scaled
Cost:   4 variants, 15 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("unit_scaled", "unit", "sum", "sum_scaled")
SMOKE = {"steps": 2, "task.held_out_batches": 1}


def get_config(variant="unit_scaled"):
    merge, _, scaled = variant.partition("_")
    surgery = "kexue_jax.optim.surgery"
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
        scales=(0.01 if scaled else 1.0, 1.0),
        names=("first", "second"),
    )
    merges = {
        "sum": dict(make=f"{surgery}:sum_gradients"),
        "unit": dict(make=f"{surgery}:sum_unit_gradients"),
    }
    optimizer = dict(
        make="kexue_jax.optim.chain:chain",
        order=("merge", "adam"),
        merge=merges[merge],
        adam=dict(make="optax:adam", learning_rate=2e-3),
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=1500,
            log_every=10,
            eval_every=150,
            task=task,
            optimizer=optimizer,
        )
    )


def claim(scores):
    names = [f"test/accuracy_{which}" for which in ("first", "second")]
    moved = [abs(scores["unit_scaled"][n] - scores["unit"][n]) for n in names]
    fell = scores["sum"][names[0]] - scores["sum_scaled"][names[0]]
    return {
        "unit gradients move by less than 1 point": (moved[0] < 0.01)
        & (moved[1] < 0.01),
        "the sum loses 5 points on the first digit": fell > 0.05,
    }
