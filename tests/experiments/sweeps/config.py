"""Scores of a known function, for tests of sweeps: nothing is trained.

Claim:  none.
Limits: none.
Source: https://kexue.fm/
Run:    python -m experiments.sweep --config=tests/experiments/sweeps/config.py
Cost:   nothing.
"""

from ml_collections import ConfigDict

VARIANTS = ("plain", "shifted", "trained", "follows")
SWEEPS = {
    "grid": {
        "grid": {"variant": ("plain", "shifted"), "task.x": (-1.0, 0.0, 2.0)},
        "seeds": (0, 1),
        "objective": {"x/value": "min"},
    },
    "search": {
        "space": {
            "task.x": {"low": -4.0, "high": 4.0},
            "task.y": {"low": 1e-3, "high": 1.0, "log": True},
        },
        "trials": 12,
        "objective": {"x/value": "min"},
    },
}


def get_config(variant="plain"):
    task = dict(
        make="tests.experiments.sweeps.parabola:Parabola",
        x=0.0,
        y=0.5,
        count=3,
        name="a",
        sizes=(1, 2),
        shift=float(variant == "shifted"),
    )
    config = ConfigDict(dict(steps=0, task=task))
    if variant == "trained":
        config.optimizer = dict(make="optax:sgd", learning_rate=0.1)
    if variant == "follows":  # as data whose seed is that of the run
        config.seed = 0
        with config.task.ignore_type():
            config.task.shift = config.get_ref("seed")
    return config
