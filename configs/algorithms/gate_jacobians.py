"""A GRU enlarges its state about twice as often as an LSTM or a cell that resets last.

Claim:  in random cells of one unit that have run 20 steps, with weights of deviation 1
        or 3, the share whose derivative of state by state exceeds 1 is at least 1.5
        times as large in a GRU as in an LSTM and in the cell that the post proposes.
        What comes back past the gate is larger too, but by less than half. With weights
        of deviation 0.3 less than one cell in a thousand enlarges anything.
Limits: one unit, no training, derivatives of one step, and for the LSTM of its cell
        alone. In states drawn and not reached the GRU looks worse than it is.
Source: https://kexue.fm/archives/7888
Run:    python -m experiments.run --config=configs/algorithms/gate_jacobians.py
Cost:   1 variant, 20 s on two CPU cores; nothing is trained.
"""

from ml_collections import ConfigDict

VARIANTS = ("cells",)
SMOKE = {"task.cells": 16, "task.steps": 3}


def get_config(variant="cells"):
    del variant  # there is one
    task = dict(
        make="kexue_jax.tasks.gate_jacobians:GateJacobians",
        deviations=(0.3, 1.0, 3.0),
        cells=100_000,
        steps=20,
    )
    return ConfigDict(dict(seed=0, steps=0, task=task))


def claim(scores):
    found, cells = scores["cells"], ("lstm", "reset_last")

    def against(other, s, kind):
        return found[f"{s}/gru_{kind}"] / found[f"{s}/{other}_{kind}"]

    return {
        **{
            f"more often than {other} at {s}": against(other, s, "explodes") > 1.5
            for other in cells
            for s in ("1", "3")
        },
        **{
            f"more past the gate than in {other} at {s}": (
                (against(other, s, "rest") > 1.0) & (against(other, s, "rest") < 1.5)
            )
            for other in cells
            for s in ("1", "3")
        },
        "hardly ever with small weights": sum(
            found[f"0.3/{name}_explodes"] for name in ("gru", *cells)
        )
        < 1e-3,
    }
