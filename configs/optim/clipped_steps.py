"""Where curvature grows with the gradient, a clipped step beats any tuned fixed one.

Claim:  x^4 from starts in [x/2, x], until the slope is 1e-3: a clipped step
        1 / (L0 + L1 |slope|) takes about 500 steps whatever x is, between 2 and 20. The
        best of 25 fixed rates takes fewer at x = 2 and two, ten and forty times as many
        at 5, 10 and 20: it grows like the square of x. For cosh(x) and exp(x) - x at
        x = 10 the best fixed rate takes at least a hundred times as many. The condition
        that explains this bounds the Hessian: it holds, just, for all three functions,
        while the one stated for any displacement is exceeded by each more than tenfold.
Limits: one number, no noise. L0 and L1 are known here. A fixed rate that happens to
        land on the minimum of a single start is quicker; starts are drawn therefore.
        For exp(x) alone, which has no minimum, one step too long is the quickest way.
Source: https://kexue.fm/archives/7469; Zhang et al., arXiv 1905.11881
Run:    python -m experiments.run --config=configs/optim/clipped_steps.py
Cost:   1 variant, 30 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("steps",)
SMOKE = {"task.draws": 4, "task.rates": 2}


def get_config(variant="steps"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.clipped_steps:ClippedSteps",
        method=dict(bind="kexue_jax.optim:scale_by_l0l1"),
        places=dict(
            quartic=(2.0, 5.0, 10.0, 20.0),
            cosh=(2.0, 5.0, 10.0),
            exp=(2.0, 5.0, 10.0),
        ),
        draws=200,
        rates=25,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["steps"]

    def times(name, place):
        """Steps of the best fixed rate over those of the clipped step."""
        return found[f"{name}/{place}_fixed"] / found[f"{name}/{place}_clipped"]

    clipped = [found[f"quartic/{place}_clipped"] for place in (2, 5, 10, 20)]
    growth = found["quartic/20_fixed"] / found["quartic/5_fixed"]
    return {
        "a fixed rate is quicker from near": times("quartic", 2) < 1.0,
        "twice as many at 5": times("quartic", 5) > 2.0,
        "ten times as many at 10": times("quartic", 10) > 10.0,
        "forty times as many at 20": times("quartic", 20) > 40.0,
        "fixed steps grow like the square": (growth > 12.0) & (growth < 21.0),
        "clipped ones hardly grow": (clipped[0] > 450.0)
        & (clipped[3] < 1.05 * clipped[0]),
        **{
            f"a hundred times as many for {name}": times(name, 10) > 100.0
            for name in ("cosh", "exp")
        },
        **{
            f"the Hessian's bound just holds for {name}": abs(
                found[f"{name}/hessian"] - 1.0
            )
            < 1e-6
            for name in ("quartic", "cosh", "exp")
        },
        **{
            f"that of any displacement fails for {name}": found[f"{name}/displacement"]
            > 10.0
            for name in ("quartic", "cosh", "exp")
        },
    }
