"""Products of sinusoidal positions fall like the logarithm of the distance.

Claim:  for many features the mean cosine at distance d is within 3 % of
        1 - (gamma + ln d) / ln b, from 32 tokens to a tenth of the base b: it falls by
        the same amount whenever the distance doubles, and from the base to four times
        the base it swings about 0 by less than 0.1. With 128 features it is off by more
        than 0.05 at 4096 tokens. The bound of rotary scores falls to a quarter at 256.
Limits: products of positions alone, with the identity between them; what a trained
        model puts there can have any sign.
Source: https://kexue.fm/archives/8231, which shows the curves and gives no formula.
Run:    python -m experiments.run --config=configs/position/sinusoid_decay.py
Cost:   1 variant, 5 s on two CPU cores; nothing is trained or drawn.
"""

from ml_collections import ConfigDict

VARIANTS = ("bases",)
SMOKE = {"task.size": 16}


def get_config(variant="bases"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.position_decay:SinusoidDecay",
        size=128,
        bases=(1000.0, 10000.0),
        distances=(1, 8, 32, 128, 512, 4096),
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["bases"]
    gap = abs(found["10000/finite_4096"] - found["10000/limit_4096"])
    return {
        "logarithmic for base 1000": found["1000/log_error"] < 0.03,
        "logarithmic for base 10000": found["10000/log_error"] < 0.03,
        "gone beyond the base": (found["1000/beyond"] < 0.1)
        & (found["10000/beyond"] < 0.1),
        "128 features are few": gap > 0.05,
        "the bound falls to a quarter": found["10000/bound_ratio"] < 0.25,
    }
