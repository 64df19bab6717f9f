"""Under Tiger, rows of a table that are seldom seen drift to 1 / decay.

Claim:  reviews as bags of 20,000 bigrams, 6,000 steps of Tiger at 0.002 with a decay of
        0.01: the largest entry of the table is above 90 and not above 100, which is
        1 / decay. With rows that stand still unless they are seen no entry exceeds 3,
        nor with Adam for the table and Tiger for the rest; either is at least 1 point
        better on held-out reviews, at the end.
Limits: no schedule, and a rate of Tiger's that is the most its author advises. All
        three know the reviews by heart by then. Without a gradient the sign of a
        float32 momentum lasts some 2,500 steps; rows that are never seen shrink.
Source: https://kexue.fm/archives/9512
Run:    python -m experiments.run --config=configs/optim/tiger_drift.py:tiger
Cost:   3 variants, 40 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("tiger", "lazy", "adam_table")
SMOKE = {
    "steps": 2,
    "task.data.name": "drawn",
    "task.data.length": 16,
    "task.counted": 2,
}


def get_config(variant="tiger"):
    config = ConfigDict(dict(seed=0, steps=6000, eval_every=250))
    config.task = dict(
        make="kexue_jax.tasks.rare_rows:RareRows",
        data=dict(
            make="kexue_jax.data.review_bigrams:review_bigrams",
            name="chnsenticorp",
            vocabulary=20_000,
            length=128,
            batch=32,
            seed=config.get_ref("seed"),
        ),
        model=dict(
            bind="kexue_jax.nn.bag:BagClassifier", vocabulary=20_001, features=32
        ),
        counted=247,
    )
    tiger = dict(make="kexue_jax.optim:tiger", learning_rate=2e-3, weight_decay=0.01)
    config.optimizer = tiger
    if variant != "tiger":
        table = {
            "lazy": dict(make="kexue_jax.optim:lazy_rows", inner=tiger),
            "adam_table": dict(make="optax:adam", learning_rate=1e-3),
        }[variant]
        config.optimizer = dict(
            make="optax:partition",
            transforms=dict(embedding=table, matrix=tiger, bias=tiger),
            param_labels=dict(bind="kexue_jax.optim:by_role"),
        )
    return config


def claim(scores):
    largest = {variant: scores[variant]["table/largest"] for variant in VARIANTS}
    accuracy = {variant: scores[variant]["valid/accuracy"] for variant in VARIANTS}
    parts = {"Tiger drifts": (largest["tiger"] > 90.0) & (largest["tiger"] < 100.01)}
    for variant in ("lazy", "adam_table"):
        parts[f"{variant} does not"] = largest[variant] < 3.0
        parts[f"{variant} is better"] = accuracy[variant] > accuracy["tiger"] + 0.01
    return parts
