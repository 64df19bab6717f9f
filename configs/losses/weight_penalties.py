"""WEISSI against L2 and weight decay: accuracy, and accuracy under attack.

Claim:  200 digits to learn from, each penalty at the best of three weights on held-out
        digits: WEISSI is more accurate than L2 and than decoupled decay, and so it is
        where every digit was moved against the network by 0.5, an eighth of its length.
Limits: a small perceptron; the weights are chosen on the digits that judge, for all
        penalties alike. The post and its paper say this of VGG and ResNet on CIFAR.
Source: https://kexue.fm/archives/7681; Liu et al., arXiv 2008.02965.
Run:    python -m experiments.run --config=configs/losses/weight_penalties.py:l2_0.001
Cost:   10 variants, 15 s each on two CPU cores.
"""

from ml_collections import ConfigDict

WEIGHTS = {
    "weissi": (0.003, 0.03, 0.3),
    "l2": (0.0003, 0.003, 0.03),
    "decay": (0.01, 0.1, 1.0),
}
VARIANTS = (
    *(f"{name}_{weight}" for name, weights in WEIGHTS.items() for weight in weights),
    "none",
)
SMOKE = {"steps": 2}


def get_config(variant="weissi_0.03"):
    name, _, weight = variant.partition("_")
    config = ConfigDict(dict(seed=0, steps=3000, eval_every=500, log_every=20))
    config.task = dict(
        make="kexue_jax.tasks.robust_classification:RobustClassification",
        data=dict(
            make="kexue_jax.data.drawn:few_digits",
            examples=200,
            batch=50,
            seed=config.get_ref("seed"),
        ),
        model=dict(
            bind="kexue_jax.nn.rows:InputClassifier", columns=64, hidden=(128, 64)
        ),
        radii=(0.25, 0.5),
    )
    penalties = "kexue_jax.losses.weight_penalties"
    config.optimizer = dict(make="optax:adam", learning_rate=1e-3)
    if name == "decay":
        config.optimizer = dict(
            make="optax:adamw",
            learning_rate=1e-3,
            weight_decay=float(weight),
            mask=dict(bind="kexue_jax.algorithms.roles:is_weight"),
        )
    elif name != "none":
        penalty = {
            "l2": dict(bind=f"{penalties}:l2_penalty", weight=float(weight or 0)),
            "weissi": dict(
                bind=f"{penalties}:weissi_penalty",
                norm=float(weight or 0),
                direction=0.01 * float(weight or 0),
            ),
        }[name]
        config.wrap = dict(order=("penalty",), penalty=penalty)
    return config


def claim(scores):
    def best(name, score):
        found = [scores[f"{name}_{w}"][f"valid/{score}"] for w in WEIGHTS[name]]
        return max(found, key=lambda values: values.mean())

    return {
        f"{score}: above {other}": best("weissi", score) > best(other, score)
        for score in ("accuracy", "accuracy_at_0.5")
        for other in ("l2", "decay")
    }
