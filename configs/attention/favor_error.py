"""FAVOR+ needs many features, and for queries of unit size it does not work at all.

Claim:  on random sequences the error of FAVOR+ falls with the number of features, but
        with 16 it is above that of answering with the mean of the values, for entries
        of deviation 0.5; there trigonometric features do better than positive ones.
        With entries of deviation 1, 256 positive features are still worse than the
        mean, and trigonometric ones are worse than these by more than five times.
Limits: random queries and keys, head size 16, no training: a trained model may keep to
        where the features work. Medians of 20 draws, whose errors have heavy tails.
Source: https://kexue.fm/archives/7921
Run:    python -m experiments.run --config=configs/attention/favor_error.py
Cost:   1 variant, 15 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("features",)
SMOKE = {"task.length": 32, "task.draws": 2, "task.features": (4, 8, 12)}


def get_config(variant="features"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.attention_error:RandomFeatureError",
        length=1024,
        head_size=16,
        deviations=(0.5, 1.0),
        features=(16, 64, 256),
        draws=20,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["features"]
    small = [found[f"0.5/orthogonal_{n}"] for n in (16, 64, 256)]
    large = found["1/orthogonal_256"]
    return {
        "more features, less error": (small[0] > small[1]) & (small[1] > small[2]),
        "16 features are worse than the mean": small[0] > found["0.5/mean"],
        "256 features are better than the mean": small[2] < found["0.5/mean"],
        "trigonometric ones are better on small entries": (
            found["0.5/trigonometric_256"] < small[2]
        ),
        "on unit entries 256 are worse than the mean": large > found["1/mean"],
        "and trigonometric ones fail": found["1/trigonometric_64"]
        > 5 * found["1/orthogonal_64"],
    }
