"""The numbers in GELU's forms and in SquarePlus are those of least greatest error.

Claim:  minimising the greatest error gives the 0.044715 of the tanh form and the 1.702
        of the sigmoid form to all their digits, and 1.5238 for the SquarePlus nearest
        to SoftPlus, of which 4 ln(2)^2 is the least b that is nowhere below. The
        constant of tanh that matches the third derivative, 0.04554, has at least 1.5
        times the error in GELU; two free constants save less than a quarter of it.
Limits: the errors of the function, not what a network makes of them.
Source: https://kexue.fm/archives/7309 and https://kexue.fm/archives/8833
Run:    python -m experiments.run --config=configs/algorithms/activation_constants.py
Cost:   1 variant, 5 s on two CPU cores; nothing is trained or drawn.
"""

import math

from ml_collections import ConfigDict

VARIANTS = ("constants",)
SMOKE = {}


def get_config(variant="constants"):
    del variant  # there is one
    task = dict(make="kexue_jax.tasks.activation_constants:ActivationConstants")
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["constants"]
    usual = found["error/gelu_tanh"]
    bound = 4 * math.log(2) ** 2
    return {
        "0.044715": abs(found["constant/gelu_tanh"] - 0.044715) < 5e-7,
        "1.702": abs(found["constant/gelu_sigmoid"] - 1.702) < 5e-4,
        "1.5238": abs(found["constant/squareplus"] - 1.5238) < 5e-5,
        "4 ln(2)^2": abs(found["constant/squareplus_bound"] - bound) < 1e-6,
        "the local constant is worse": found["error/gelu_tanh_local"] > 1.5 * usual,
        "two constants are better": found["error/gelu_minimax"] < usual,
        "but not by much": found["error/gelu_minimax"] > 0.75 * usual,
    }
