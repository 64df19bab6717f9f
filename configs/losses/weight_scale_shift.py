"""L2 moves scale between layers for nothing; WEISSI leaves it where it is.

Claim:  a ReLU network without biases learns digits by gradient descent from layers of
        uneven scale. The difference of the squared norms of the first two layers stays
        as it was, within 1 part in 1000, with no penalty and with WEISSI; L2 of weight
        lambda multiplies it by exp(-2 lambda t), within 2 in 1000. Scale moved between
        the trained layers more than halves the sum of their squares and changes no
        score by more than 1e-4 of the largest.
Limits: steps of 0.02 stand for the flow; on the second and third layer, which are
        closer in scale, their error is 4 parts in 1000. That a difference is kept says
        nothing of accuracy: see weight_penalties.
Source: https://kexue.fm/archives/7681
Run:    python -m experiments.run --config=configs/losses/weight_scale_shift.py:weissi
Cost:   3 variants, 10 s each on two CPU cores.
"""

import math

from ml_collections import ConfigDict

VARIANTS = ("l2", "weissi", "none")
SMOKE = {"steps": 2}
RATE, STEPS, WEIGHT = 0.02, 5000, 2e-3


def get_config(variant="l2"):
    config = ConfigDict(dict(seed=0, steps=STEPS, eval_every=500, log_every=50))
    config.task = dict(
        make="kexue_jax.tasks.weight_scales:WeightScales",
        data=dict(
            make="kexue_jax.data.drawn:few_digits",
            examples=500,
            batch=500,
            seed=config.get_ref("seed"),
        ),
        model=dict(
            bind="kexue_jax.nn.homogeneous:HomogeneousClassifier",
            columns=64,
            hidden=(64, 64),
            scales=(3.0, 1 / 3, 1.0),
        ),
        radii=(0.5,),
    )
    config.optimizer = dict(make="optax:sgd", learning_rate=RATE)
    penalties = "kexue_jax.losses.weight_penalties"
    penalty = {
        "l2": dict(bind=f"{penalties}:l2_penalty", weight=WEIGHT),
        "weissi": dict(
            bind=f"{penalties}:weissi_penalty",
            norm=3e-2,
            direction=3e-4,
        ),
    }
    if variant != "none":
        config.wrap = dict(order=("penalty",), penalty=penalty[variant])
    return config


def claim(scores):
    def kept(variant, wanted, within):
        return abs(scores[variant]["weights/gap_1"] - wanted) < within

    square, even, moved = (
        scores["none"][f"weights/{name}"]
        for name in ("square", "balanced_square", "moved")
    )
    return {
        "without a penalty the differences stay": kept("none", 1.0, 1e-3),
        "WEISSI leaves them": kept("weissi", 1.0, 1e-3),
        "L2 lowers them by its exponential": kept(
            "l2", math.exp(-2 * WEIGHT * RATE * STEPS), 2e-3
        ),
        "shifting scale halves L2": even < 0.5 * square,
        "shifting scale changes no output": moved < 1e-4,
    }
