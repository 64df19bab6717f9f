"""DRAFT

Claim:  x
Limits: x
Source: https://kexue.fm/archives/7309 and https://kexue.fm/archives/8833
Run:    python -m experiments.run --config=configs/algorithms/activations_digits.py:gelu
Cost:   x
"""

from ml_collections import ConfigDict

HOUSE = "kexue_jax.algorithms.activations"
KINDS = {
    "gelu": dict(bind=f"{HOUSE}:gelu"),
    "gelu_tanh": dict(bind=f"{HOUSE}:gelu_tanh"),
    "gelu_sigmoid": dict(bind=f"{HOUSE}:gelu_sigmoid"),
    "swish": dict(bind="jax.nn:swish"),
    "relu": dict(bind="jax.nn:relu"),
    "softplus": dict(bind="jax.nn:softplus"),
    "squareplus_4": dict(bind=f"{HOUSE}:squareplus", b=4.0),
    "squareplus_bound": dict(bind=f"{HOUSE}:squareplus", b=1.921812),
    "squareplus_nearest": dict(bind=f"{HOUSE}:squareplus", b=1.523821),
    "linear": dict(bind="jax.nn:identity"),
}
VARIANTS = tuple(KINDS)
SMOKE = {"steps": 2, "task.model.hidden": (4,)}


def get_config(variant="gelu"):
    room = "kexue_jax"
    task = dict(
        make=f"{room}.tasks.cross_validation:CrossValidation",
        data=dict(
            digits=dict(
                make=f"{room}.data.folds:folded_table",
                name="digits",
                batch=64,
                folds=5,
                repeats=2,
            )
        ),
        model=dict(
            bind=f"{room}.nn.classifier:RowClassifier",
            hidden=(64, 64),
            activation=KINDS[variant],
        ),
    )
    rate = dict(make="optax:cosine_decay_schedule", init_value=2e-3, decay_steps=1000)
    return ConfigDict(
        dict(
            seed=0,
            steps=1000,
            eval_every=250,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=rate),
        )
    )


def claim(scores):
    return {"draft": scores["relu"]["digits/accuracy"] > 0.5}
