"""Entropy estimated from neighbours is too large, and more so in more dimensions.

Claim:  of standard normal samples the estimate of Kozachenko and Leonenko is right up
        to 0.25 nats in at most 4 dimensions; from 8 on its excess rises with the
        dimension, also the excess a dimension. In 128 dimensions 128 samples, of
        entropy 181.6, are said to have 208.8 (27.2 more, up to 1), and 16 times as many
        samples take off less than a fifth of that. From 32 dimensions on every single
        estimate is above the greatest entropy of these variances. Farther neighbours
        make it worse. Shapes of one variance are told apart all the same: normal above
        Laplace, uniform, correlated and bimodal, in this order, in 2 dimensions.
Limits: the truth is known for the first part alone. An estimate says what has more
        entropy, not how much there is: one above the bound of the normal distribution
        is an error of the estimate.
Source: https://kexue.fm/archives/7343
Run:    python -m experiments.run --config=configs/metrics/entropy_bias.py
Cost:   1 variant, 80 s on two CPU cores; nothing is trained.
"""

from itertools import pairwise

from ml_collections import ConfigDict

VARIANTS = ("shapes",)
DIMENSIONS = (1, 2, 4, 8, 16, 32, 64, 128)
COUNTS = (128, 512, 2048)
NEIGHBOURS = (1, 3, 5, 10)
SMOKE = {
    "task.dimensions": (1, 12),
    "task.counts": (16,),
    "task.neighbours": (1, 2),
    "task.draws": 2,
}


def get_config(variant="shapes"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.entropy_bias:EntropyBias",
        dimensions=DIMENSIONS,
        counts=COUNTS,
        neighbours=NEIGHBOURS,
        draws=20,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["shapes"]
    close = rises = above = farther = True
    for n in COUNTS:
        for k in NEIGHBOURS:
            group = f"n{n}_k{k}"
            bias = {d: found[f"{group}/bias_{d}"] for d in DIMENSIONS}
            for d in (1, 2, 4):
                close = close & (abs(bias[d]) < 0.25)
            for few, many in pairwise((8, 16, 32, 64, 128)):
                rises = rises & (bias[few] < bias[many])
                rises = rises & (bias[few] / few < bias[many] / many)
            for d in (32, 64, 128):
                above = above & (found[f"{group}/above_{d}"] == 1.0)
        for d in (16, 32, 64, 128):
            for near, far in pairwise(NEIGHBOURS):
                near, far = (found[f"n{n}_k{k}/bias_{d}"] for k in (near, far))
                farther = farther & (near < far)
    names = ("normal", "laplace", "uniform", "correlated", "bimodal")
    order = True
    for more, less in pairwise(names):
        order = order & (found[f"order/{more}"] > found[f"order/{less}"])
    few, many = (found[f"n{n}_k1/bias_128"] for n in (128, 2048))
    return {
        "few dimensions: right": close,
        "the excess rises with the dimension": rises,
        "128 dimensions: 27.2 too much": abs(few - 27.2) < 1.0,
        "more samples hardly help": many > 0.8 * few,
        "32 dimensions: above the bound": above,
        "farther neighbours are worse": farther,
        "shapes in their order": order,
    }
