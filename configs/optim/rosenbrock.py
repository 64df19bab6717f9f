"""Eight optimizers in the bent valley of Rosenbrock's function, at their best rates.

Claim:  from random starts, with the best of five rates that falls to 0 over 5,000
        steps, nine in ten starts end below 1e-4 under Adam, AdaX, Lion, Tiger, LAMB and
        Adam with lookahead, and not even below 1e-2 under gradient descent, with
        momentum or without. Adam and AdaX get below 1e-15. Lookahead is behind Adam, by
        five orders or more; Lion and Tiger, whose steps are as long as the rate, stay
        above 1e-10.
Limits: two numbers, no noise, rates ten times apart (for descent: three to ten). The
        order says nothing about nets.
Source: https://kexue.fm/archives/7094, https://kexue.fm/archives/7387 and
        https://kexue.fm/archives/9512, which describe them
Run:    python -m experiments.run --config=configs/optim/rosenbrock.py
Cost:   1 variant, 20 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("valley",)
SMOKE = {"task.steps": 20, "task.starts": 4}


def get_config(variant="valley"):
    del variant  # there is one
    rates = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    small = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2)  # beyond, they diverge
    methods = dict(
        adam=dict(bind="optax:adam"),
        adax=dict(bind="kexue_jax.optim:adax"),
        lion=dict(bind="optax:lion", weight_decay=0.0),
        tiger=dict(bind="kexue_jax.optim:tiger", weight_decay=0.0),
        lamb=dict(bind="kexue_jax.optim:lamb", weight_decay=0.0),
        descent=dict(bind="optax:sgd"),
        momentum=dict(bind="optax:sgd", momentum=0.9),
    )
    task = dict(
        make="kexue_jax.tasks.rosenbrock:Rosenbrock",
        methods=methods,
        rates={
            name: small if name in ("descent", "momentum") else rates
            for name in methods
        },
        wrappers=dict(lookahead=dict(bind="kexue_jax.optim:lookahead")),
        wrapped="adam",
        steps=5000,
        starts=100,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["valley"]
    loss = {name.split("/")[0]: x for name, x in found.items() if "/loss" in name}
    adaptive = ("adam", "adax", "lion", "tiger", "lamb", "lookahead")
    return {
        **{f"{name} solves it": loss[name] < -4.0 for name in adaptive},
        **{f"{name} does not": loss[name] > -2.0 for name in ("descent", "momentum")},
        "Adam gets far": loss["adam"] < -15.0,
        "AdaX gets far": loss["adax"] < -15.0,
        "lookahead is behind": loss["lookahead"] > loss["adam"] + 5.0,
        "Lion stays": loss["lion"] > -10.0,
        "Tiger stays": loss["tiger"] > -10.0,
    }
