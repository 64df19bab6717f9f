"""Adam with a short memory ends at the worst point, AdaX at the best.

Claim:  gradients 3, -1, -1, over and over, on [-1, 1], at the rate 0.1 / sqrt(t) and
        without momentum: from every start Adam with b2 = 0.1 ends within 0.05 of 1,
        where the loss is greatest. AdaX, the schedule of AdaFactor, AMSGrad and, too,
        Adam with b2 = 0.999 end within 0.05 of -1, where it is least. What differs is
        the weight of the newest square after 10,000 steps: below 1e-4 in AdaX, below
        1e-3 in AdaFactor, 1e-3 in the longer Adam and 0.9 in the shorter.
Limits: one number and a made-up sequence; the b2 that fails is 1 / (1 + C^2) for C = 3.
Source: https://kexue.fm/archives/7387; Reddi et al., ICLR 2018
Run:    python -m experiments.run --config=configs/optim/adam_counterexample.py
Cost:   1 variant, 5 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("places",)
SMOKE = {"task.steps": 100, "task.starts": 4}


def get_config(variant="places"):
    del variant  # there is one
    methods = dict(
        adam_short=dict(make="optax:scale_by_adam", b1=0.0, b2=0.1, eps=0.0),
        adam=dict(make="optax:scale_by_adam", b1=0.0, b2=0.999, eps=0.0),
        amsgrad=dict(make="optax:scale_by_amsgrad", b1=0.0, b2=0.1, eps=0.0),
        adax=dict(make="kexue_jax.optim:scale_by_adax", b1=0.0, eps=0.0),
        adafactor=dict(make="optax:scale_by_factored_rms", decay_rate=0.8),
    )
    task = dict(
        make="kexue_jax.tasks.adam_counterexample:AdamCounterexample",
        methods=methods,
        averages=("adam_short", "adam", "adax", "adafactor"),
        largest=3.0,
        steps=10_000,
        starts=100,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["places"]
    good = ("adam", "amsgrad", "adax", "adafactor")
    return {
        "adam_short ends at the worst point": found["adam_short/least"] > 0.95,
        **{
            f"{name} ends at the best point": found[f"{name}/most"] < -0.95
            for name in good
        },
        "AdaX forgets least": (found["adax/newest"] < 1e-4)
        & (found["adafactor/newest"] < found["adam/newest"])
        & (abs(found["adam/newest"] - 1e-3) < 1e-5)
        & (abs(found["adam_short/newest"] - 0.9) < 1e-5),
    }
