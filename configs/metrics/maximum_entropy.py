"""Points of unit variance that maximise their entropy become normal.

Claim:  512 points in the plane, uniform at first, whose estimated entropy is maximised
        under batch normalisation, come to the normal distribution: on each axis the
        distance of Kolmogorov and Smirnov falls below 0.03, the fourth moment rises
        from less than 2 above 2.6, and axes stay uncorrelated (below 0.05). Without
        normalisation they fly apart, to more than 3 times their spread, and to more
        than 1.5 times that again with twice the steps.
Limits: tails need long steps: at a rate of 1e-2 instead of 3e-2 fourth moments were
        seen to end between 2.6 and 2.7. The estimate is misled by the points that
        maximise it, and ends more than 1 nat above the greatest entropy there is: it is
        a regulariser, no measurement.
Source: https://kexue.fm/archives/7343
Run:    python -m experiments.run --config=configs/metrics/maximum_entropy.py:normalised
Cost:   3 variants, 10 s each on two CPU cores.
"""

from ml_collections import ConfigDict

VARIANTS = ("normalised", "free", "free_longer")
SMOKE = {"steps": 2, "task.count": 16}


def get_config(variant="normalised"):
    room = "kexue_jax.tasks.maximum_entropy"
    constraint = "standardised" if variant == "normalised" else "as_they_are"
    steps = 4000 if variant == "free_longer" else 2000
    task = dict(
        make=f"{room}:MaximumEntropy",
        constraint=dict(bind=f"{room}:{constraint}"),
        count=512,
        size=2,
    )
    rate = dict(
        make="optax:linear_schedule",
        init_value=3e-2,
        end_value=0.0,
        transition_steps=steps,
    )
    return ConfigDict(
        dict(
            seed=0,
            steps=steps,
            log_every=20,
            eval_every=200,
            task=task,
            optimizer=dict(make="optax:adam", learning_rate=rate),
        )
    )


def claim(scores):
    normed, free, longer = (scores[name] for name in VARIANTS)
    return {
        "normal: distance": normed["now/ks"] < 0.03,
        "normal: fourth moment": (normed["now/fourth"] > 2.6)
        & (normed["start/fourth"] < 2.0),
        "normal: uncorrelated": normed["now/correlation"] < 0.05,
        "free: they fly apart": free["now/spread"] > 3 * free["start/spread"],
        "free: without end": longer["now/spread"] > 1.5 * free["now/spread"],
        "the estimate is misled": normed["now/excess"] > 1.0,
    }
