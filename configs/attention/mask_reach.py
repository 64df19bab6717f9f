"""Near keys and a comb of far ones, joined, reach everything in two layers.

Claim:  the union of a local and an atrous mask reaches every place from every place in
        two layers, and so do a local layer and an atrous one after it; local layers
        alone need one for every k tokens, and atrous ones never do. Derivatives through
        layers of attention are zero exactly where the masks say so. At the best rate,
        about the root of half the length, the pairs grow like n to the power 1.5.
Limits: reach is not use: what a trained model loses by seeing far places through two
        layers is another question, and so is the time, which goes by pairs only where
        the attention skips what is hidden (`local_attention`, `atrous_attention`,
        `block_sparse_attention`).
Source: https://kexue.fm/archives/6853
Run:    python -m experiments.run --config=configs/attention/mask_reach.py
Cost:   1 variant, 10 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("masks",)
SMOKE = {"task.length": 12, "task.rate": 3, "task.lengths": (64, 256)}


def get_config(variant="masks"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.mask_reach:MaskReach",
        length=96,
        rate=6,
        lengths=(256, 1024, 4096, 16384, 65536),
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["masks"]
    root = (65536 / 2) ** 0.5
    return {
        "joined, two layers reach everything": found["union/layers"] == 2,
        "one after the other, too": found["chain/layers"] == 2,
        "local layers go k tokens each": found["local/layers"] == 16,
        "atrous layers never leave their comb": found["atrous/layers"] == 0,
        "derivatives are zero exactly there": found["gradient/wrong"] == 0,
        "pairs grow like n to the 1.5": abs(found["union/exponent"] - 1.5) < 0.02,
        "the best rate is near the root of n / 2": abs(
            found["union/best_rate"] / root - 1
        )
        < 0.1,
    }
