"""A task without data whose score is a parabola, and that fails where it is told."""

import json
import os
import signal
import time

import jax.numpy as jnp
import numpy as np


class Parabola:
    """Scores ``(x - shift)^2 + (y - 1/2)^2 + |w|``, where training shrinks w to 0.

    ``PARABOLA`` holds what befalls it, a JSON dict: ``fail`` and ``kill`` name x where
    it raises or kills its process; ``nan`` where the score is none; ``slow`` is a pause
    before each evaluation; ``marks`` a file that takes x at each evaluation.
    """

    def __init__(self, *, x, y, count, name, sizes, shift):
        self.x, self.y, self.shift = x, y, shift
        self.told = json.loads(os.environ.get("PARABOLA", "{}"))

    def init(self, rng):
        return {"w": jnp.ones(())}, {}

    def batch(self, step):
        return {"one": np.ones((8,), np.float32)}

    def loss(self, params, extras, batch, rng):
        return jnp.square(params["w"]) * jnp.mean(batch["one"]), (extras, {})

    def evaluate(self, params, extras):
        if "marks" in self.told:
            with open(self.told["marks"], "a", encoding="utf-8") as file:
                file.write(f"{self.x}\n")
        time.sleep(self.told.get("slow", 0))
        if self.x in self.told.get("fail", []):
            raise ValueError(f"x = {self.x} is refused")
        if self.x in self.told.get("kill", []):
            os.kill(os.getpid(), signal.SIGKILL)
        value = (self.x - self.shift) ** 2 + (self.y - 0.5) ** 2
        value += abs(float(params["w"]))
        if self.x in self.told.get("nan", []):
            value = float("nan")
        return {"x/value": value, "x/size": abs(self.x)}
