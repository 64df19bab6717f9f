"""A task of two layers whose data, speed and mishaps the tests decide.

What befalls a run is in the environment, so that its config and its command stay those
of a run that nothing befalls: ``TINY`` holds a JSON dict, see `Mishaps`.
"""

import dataclasses
import errno
import functools
import hashlib
import importlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.data.order import Shuffled


@dataclasses.dataclass
class Mishaps:
    """What befalls this process.

    Attributes:
      marks: a file that takes a line for what is done: ``batch 3 0 5 1``, ``trace``.
      step_ms, eval_ms, save_ms, trace_ms: milliseconds that each takes longer.
      nan, spike: the first and last batch whose gradients are nan, or 1e4 as large; in
        one of eight parts of the batch, or in all of it.
      hang: the batch that never comes, on the process `on`.
      die: ``module:Class.function``, then the call before which (or after which, if
        `after`) the process kills itself.
      full: the first and last step whose save finds the disk full.
      clock: seconds that the wall clock is off; `jump`, from that batch on.
      width: of the hidden layer, whatever the config says.
    """

    marks: str = ""
    step_ms: float = 0.0
    eval_ms: float = 0.0
    save_ms: float = 0.0
    trace_ms: float = 0.0
    nan: tuple = ()
    spike: tuple = ()
    hang: int = -1
    on: int = 0
    die: tuple = ()
    after: bool = False
    full: tuple = ()
    clock: float = 0.0
    jump: int = -1
    width: int = 0

    def mark(self, *words):
        if self.marks:
            with open(f"{self.marks}", "a", encoding="utf-8") as file:
                file.write(" ".join(map(str, words)) + "\n")

    def sleep(self, what, milliseconds):
        if milliseconds:
            self.mark(what)
            time.sleep(milliseconds / 1000)

    def install(self):
        """Puts what does not belong to a task where it happens."""
        if self.die:
            name, call = self.die
            _replace(name, lambda inner: _deadly(inner, int(call), self.after))
        if self.save_ms or self.full:
            _replace(
                "kexue_jax.train.checkpoint:Checkpoints._finish", self._slow_or_full
            )
        if self.clock or self.jump >= 0:
            self._now = time.time
            time.time = self._wrong_time

    def _slow_or_full(self, inner):
        def finish(checkpoints, step, response, manifest):
            self.sleep("save", self.save_ms)
            if self.full and self.full[0] <= step <= self.full[1]:
                response = _Full(response)
            inner(checkpoints, step, response, manifest)

        return finish

    def _wrong_time(self):
        return self._now() + (self.clock if self.jump < 0 or self._jumped else 0.0)

    _jumped = False


class _Full:
    """An answer of Orbax that says what it says when the disk is full."""

    def __init__(self, response):
        self._response = response

    def result(self):
        self._response.result()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _replace(name, make):
    module, _, path = name.partition(":")
    *parents, last = path.split(".")
    home = functools.reduce(getattr, parents, importlib.import_module(module))
    setattr(home, last, make(getattr(home, last)))


def _deadly(inner, call, after):
    calls = 0

    @functools.wraps(inner)
    def deadly(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = inner(*args, **kwargs)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return deadly


@jax.custom_vjp
def magnified(x, gain):
    """`x`, whose gradient is `gain` times as large."""
    return x


magnified.defvjp(
    lambda x, gain: (x, gain), lambda gain, g: (gain * g, jnp.zeros_like(gain))
)


class Examples:
    """Points of a plane and what is to be learned of them, in a shuffled order."""

    def __init__(self, *, seed=0, examples=64, batch_size=16, file="", tokenizer="a"):
        self.seed, self.tokenizer = seed, tokenizer
        self.order = Shuffled(examples=examples, batch_size=batch_size, seed=seed)
        draw = np.random.default_rng(1)
        self.inputs = draw.normal(size=(examples, 4)).astype(np.float32)
        self.targets = np.sin(self.inputs.sum(axis=1, keepdims=True))
        content = Path(file).read_bytes() if file else b""
        self.sha256 = hashlib.sha256(content).hexdigest()

    def fingerprint(self):
        return {
            "sha256": self.sha256,
            "examples": self.order.examples,
            "seed": self.seed,
            "batch_size": self.order.batch_size,
            "tokenizer": self.tokenizer,
        }

    def __call__(self, step):
        index = self.order.indices(step)
        return {
            "index": index.astype(np.int32),
            "x": self.inputs[index],
            "y": self.targets[index],
        }


class Tiny:
    """A regression with noise on its inputs and a running mean in its extras."""

    def __init__(self, *, source, width=16, layers=2, dtype="float32"):
        self.source, self.layers, self.dtype = source, layers, dtype
        self.mishaps = Mishaps(**json.loads(os.environ.get("TINY", "{}")))
        self.mishaps.mark("made", os.getpid())
        self.mishaps.install()
        self.width = self.mishaps.width or width
        self.fingerprint = source.fingerprint

    def init(self, rng):
        sizes = [4, *[self.width] * (self.layers - 1), 1]
        keys = jax.random.split(rng, self.layers)
        params = {
            f"layer{i}": {
                "kernel": (jax.random.normal(key, (m, n)) / m**0.5).astype(self.dtype),
                "bias": jnp.zeros((n,), self.dtype),
            }
            for i, (key, m, n) in enumerate(
                zip(keys, sizes[:-1], sizes[1:], strict=True)
            )
        }
        return params, {"mean": jnp.zeros((self.width,), jnp.float32)}

    def batch(self, step):
        mishaps = self.mishaps
        batch = self.source(step)
        mishaps.mark("batch", step, *batch["index"])
        time.sleep(mishaps.step_ms / 1000)
        if mishaps.jump == step:
            mishaps._jumped = True
        if mishaps.hang == step and jax.process_index() == mishaps.on:
            mishaps.mark("hang")
            while True:
                time.sleep(1)
        gain = np.ones(len(batch["index"]), np.float32)
        if mishaps.nan and mishaps.nan[0] <= step <= mishaps.nan[1]:
            part = len(gain) // 8
            gain[3 * part : 4 * part] = np.nan
        if mishaps.spike and mishaps.spike[0] <= step <= mishaps.spike[1]:
            gain[:] = 1e4
        return {**batch, "gain": gain}

    def apply(self, params, x):
        for i in range(self.layers - 1):
            layer = params[f"layer{i}"]
            x = jnp.tanh(x @ layer["kernel"] + layer["bias"][None])
        last = params[f"layer{self.layers - 1}"]
        return x, x @ last["kernel"] + last["bias"][None]

    def loss(self, params, extras, batch, rng):
        if rng is not None:  # what happens once, while the step is compiled
            self.mishaps.sleep("trace", self.mishaps.trace_ms)
        x = batch["x"]
        if rng is not None:
            x = x + 0.01 * jax.random.normal(rng, x.shape, x.dtype)
        hidden, guess = self.apply(params, x)
        guess = magnified(guess[:, 0], batch["gain"])
        loss = jnp.mean(jnp.square(guess - batch["y"][:, 0]))
        mean = 0.9 * extras["mean"] + 0.1 * jnp.mean(hidden, axis=0)
        return loss, ({"mean": mean}, {"mse": loss})

    def evaluate(self, params, extras):
        self.mishaps.sleep("evaluate", self.mishaps.eval_ms)
        inputs, targets = self.source.inputs, self.source.targets
        error = jax.jit(lambda p, x, y: jnp.mean(jnp.square(self.apply(p, x)[1] - y)))(
            params, inputs, targets
        )
        return {"held/mse": float(error)}


def warn(*words):
    """Says something where a person would see it."""
    print(*words, file=sys.stderr, flush=True)
