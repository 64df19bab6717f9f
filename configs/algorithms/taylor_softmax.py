"""DRAFT

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7919
Run:    python -m experiments.run --config=configs/algorithms/taylor_softmax.py:taylor_2
Cost:   x
"""

from ml_collections import ConfigDict

ORDERS = (2, 4, 6)
VARIANTS = (
    *(f"taylor_{order}" for order in ORDERS),
    *(f"monotone_{order}" for order in ORDERS),
    "softmax",
    "smoothed",
)
TABLES = ("digits", "breast_cancer", "wine")
SMOKE = {"steps": 2, "task.model.hidden": (4,)}


def get_config(variant="taylor_2"):
    room = "kexue_jax"
    kind, _, order = variant.partition("_")
    maps = f"{room}.algorithms.taylor_softmax"
    found = {
        "softmax": dict(bind="jax.nn:log_softmax"),
        "smoothed": dict(bind="jax.nn:log_softmax"),
        "taylor": dict(bind=f"{maps}:log_taylor_softmax"),
        "monotone": dict(bind=f"{maps}:log_monotone_taylor_softmax"),
    }[kind]
    if order:
        found = dict(found, order=int(order))
    task = dict(
        make=f"{room}.tasks.cross_validation:CrossValidation",
        data={
            name: dict(
                make=f"{room}.data.folds:folded_table",
                name=name,
                batch=64,
                folds=5,
                repeats=2,
            )
            for name in TABLES
        },
        model=dict(bind=f"{room}.nn.classifier:RowClassifier", hidden=(64, 64)),
        log_probabilities=found,
        smoothing=0.1 if kind == "smoothed" else 0.0,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=1000,
            eval_every=200,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=1e-3),
        )
    )


def claim(scores):
    return {"draft": scores["softmax"]["digits/accuracy"] > 0.5}
