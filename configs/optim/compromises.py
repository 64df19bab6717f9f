"""Two losses over a plane: the plain sum is caught in a valley, compromises are found.

Claim:  from five starts MGDA, CAGrad, Nash-MTL, UPGrad, IMTL-G, PCGrad and the sum of
        unit gradients come to a best compromise of both losses, each time; the plain
        sum does not from at least one start. With the first loss measured in units ten
        times larger the ends of Nash-MTL and of unit gradients move by less than 1 in
        the mean, those of MGDA, CAGrad, UPGrad and the sum by more.
Limits: two numbers, exact gradients, Adam behind each method, starts moved by 0.3.
Source: https://kexue.fm/archives/8896; arXiv 2110.14048 and 2202.01017, whose toy
        this is, with 50,000 steps of 0.002 for 100,000 of 0.001.
Run:    python -m experiments.run --config=configs/optim/compromises.py:plane
Cost:   1 variant, 2 min on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("plane",)
SMOKE = {"task.steps": 200}


def get_config(variant="plane"):
    grams = "kexue_jax.optim.gram_directions"
    methods = {
        name: dict(make=f"{grams}:{name}", objectives=2)
        for name in ("mgda", "cagrad", "nash_mtl", "upgrad", "imtl_g")
    }
    methods["pcgrad"] = dict(
        make="kexue_jax.optim.pairwise_projections:pcgrad", objectives=2
    )
    methods["sum"] = dict(make="kexue_jax.optim.surgery:sum_gradients")
    methods["norm"] = dict(make="kexue_jax.optim.surgery:sum_unit_gradients")
    return ConfigDict(
        dict(
            seed=0,
            steps=0,
            task=dict(
                make="kexue_jax.tasks.compromises:Compromises",
                methods=methods,
                steps=50_000,
            ),
        )
    )


def claim(scores):
    scores = scores["plane"]
    merged = ("mgda", "cagrad", "nash_mtl", "upgrad", "imtl_g", "pcgrad", "norm")
    parts = {
        f"{name} arrives from all": scores[f"{name}/arrived"] == 5 for name in merged
    }
    parts["the sum does not"] = scores["sum/arrived"] < 5
    for name in ("nash_mtl", "norm"):
        parts[f"{name} minds no units"] = scores[f"{name}/moved"] < 1.0
    for name in ("mgda", "cagrad", "upgrad", "sum"):
        parts[f"{name} minds units"] = scores[f"{name}/moved"] > 1.0
    return parts
