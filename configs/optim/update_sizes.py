"""Why Adam's steps have the size 0.2, and which size AdamW's weights come to.

Claim:  where gradients are noise, Adam's direction has the root mean square
        sqrt((1 - b1)/(1 + b1)) within 2 in 100, 0.229 for 0.9, for b1 from 0 to 0.99;
        and AdamW's weights that of sqrt(rate / (2 decay)) within 5 in 100, at two
        rates and two decays.
Limits: independent normal gradients without a mean; b2 is 0.999 and fixed rates.
Source: https://kexue.fm/archives/11267 and https://kexue.fm/archives/11307
Run:    python -m experiments.run --config=configs/optim/update_sizes.py:noise
Cost:   1 variant, 30 s on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("noise",)
SMOKE = {"task.coordinates": 20, "task.horizon": 0.5}


def get_config(variant="noise"):
    task = dict(make="kexue_jax.tasks.update_sizes:UpdateSizes")
    return ConfigDict(
        dict(seed=0, steps=0, task=task | dict(coordinates=2000, horizon=6.0))
    )


def claim(scores):
    scores = scores["noise"]
    return {
        name: abs(scores[name] - 1.0) < (0.02 if name.startswith("step/") else 0.05)
        for name in sorted(scores)
        if name.startswith(("step/", "weight/"))
    }
