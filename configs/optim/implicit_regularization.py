"""Gradient descent follows the flow of a loss with a small penalty on its gradient.

Claim:  (0.6 - a b)^2 / 2 from a = 2.8, b = 3.5: descent at the rates 0.001, 0.01 and
        0.025 ends at a^2 + b^2 = 4.5563, 4.4256 and 4.1824, the flow of the loss at
        4.5704, and that of the loss plus rate / 4 times the squared gradient at 4.5564,
        4.4428 and 4.2893. From any of 50 other starts the second flow ends at least
        four times nearer to descent than the first (rate 0.01). Halving the rate
        divides the distance of one step from the first flow by 4, from the second by 8.
        An explicit penalty of 0.5 ends at 2.997. Momentum at the same effective rate
        has a penalty (1 + beta) / (1 - beta) times as strong. A rate of 0.18 is beyond
        the analysis: descent jumps to where a and b are negative.
Limits: two parameters, no noise. Larger rates leave the modified flow, as the table
        shows. The effect is small next to that of an explicit penalty.
Source: https://kexue.fm/archives/7787; Barrett and Dherin, arXiv 2009.11162
Run:    python -m experiments.run --config=configs/optim/implicit_regularization.py
Cost:   1 variant, 10 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("ways",)
SMOKE = {"task.draws": 2, "task.fineness": 50}


def get_config(variant="ways"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.implicit_regularization:ImplicitRegularization",
        start=(2.8, 3.5),
        target=0.6,
        rates=(1e-3, 1e-2, 2.5e-2),
        penalty=0.5,
        far_rate=0.18,
        betas=(0.0, 0.5, 0.9),
        draws=50,
        fineness=1000,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found = scores["ways"]
    ends = {"0.001": (4.5563, 4.5564), "0.01": (4.4256, 4.4428)}
    ends["0.025"] = (4.1824, 4.2893)
    parts = {}
    for rate, (descent, modified) in ends.items():
        for name, want in (("descent", descent), ("modified", modified)):
            parts[f"{name} at {rate}"] = abs(found[f"{rate}/{name}"] - want) < 2e-4
        parts[f"plain at {rate}"] = abs(found[f"{rate}/plain"] - 4.5704) < 2e-4
    for beta, want in (("0", 1.0), ("0.5", 3.0), ("0.9", 19.0)):
        near = abs(found[f"momentum/{beta}"] / want - 1.0) < 0.01
        parts[f"momentum {beta}"] = near
    return parts | {
        "other starts": found["starts/nearer"] > 4.0,
        "one step and the plain flow": abs(found["error/plain_ratio"] - 4.0) < 0.1,
        "one step and the modified flow": abs(found["error/modified_ratio"] - 8.0)
        < 0.2,
        "explicit penalty": abs(found["explicit/square"] - 2.997) < 2e-3,
        "too large a rate jumps": (found["far/a"] < 0.0) & (found["far/b"] < 0.0),
    }
