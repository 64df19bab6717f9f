"""With scores scaled by log n one related key keeps its weight among any number.

Claim:  a key at cosine 0.9 to the query loses more than half of its weight of attention
        as the keys grow from 64 to 4096, all others being random; with scores scaled by
        log n its weight changes by less than 0.05. Entropy over unrelated keys is not
        made constant: it still grows by more than half of log n.
Limits: keys on the sphere in 64 dimensions, scales that agree at 512 keys, no training.
Source: https://kexue.fm/archives/8823, whose word for this is entropy invariance.
Run:    python -m experiments.run --config=configs/attention/log_scale_retrieval.py
Cost:   1 variant, 10 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("lengths",)
SMOKE = {"task.lengths": (8, 16), "task.draws": 4}


def get_config(variant="lengths"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.entropy:RetrievalByLength",
        head_size=64,
        cosine=0.9,
        lengths=(64, 128, 256, 512, 1024, 4096),
        base=512.0,
        draws=200,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["lengths"]
    return {
        "with log n the weight stays": found["log/target_range"] < 0.05,
        "without it more than half is lost": found["usual/target_range"] > 0.5,
        "entropy grows less with it": (
            found["log/unrelated_slope"] < found["usual/unrelated_slope"]
        ),
        "but it grows": found["log/unrelated_slope"] > 0.5,
    }
