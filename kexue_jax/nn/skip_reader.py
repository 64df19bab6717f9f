"""A recurrent net that decides, before it reads a row, whether to read it at all."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.recurrent import Weights, gru_step


class Skimmed(NamedTuple):
    """What a `SkipReader` made of a sequence.

    `scores` ``[B, C]``; `log_probability` ``[B]``, of the gates as they fell; `read`
    ``[B, T]`` bool.
    """

    scores: jax.Array
    log_probability: jax.Array
    read: jax.Array


class SkipReader(nnx.Module):
    """A gated recurrent net with a hard gate before each row, open or shut.

    The gate sees the state and the place, not the row. A row that is skipped leaves the
    state as it is, to the last bit.
    """

    def __init__(
        self,
        classes: int,
        *,
        columns: int,
        length: int,
        size: int,
        open_bias: float = 2.0,
        rngs: nnx.Rngs,
    ):
        """Makes a reader.

        Args:
          classes: C.
          columns: D of a row; its place is added to it as a one-hot vector.
          length: T, how many rows there are.
          size: H, units of the state.
          open_bias: what the logit of every gate begins with, and only that: the gate's
            weights begin as zeros.
          rngs: where the initial weights come from; it is not kept.
        """
        glorot, orthogonal = (
            nnx.initializers.glorot_uniform(),
            nnx.initializers.orthogonal(),
        )
        self.length, self.size = length, size
        self.inputs = nnx.Param(glorot(rngs.params(), (columns + length, 3 * size)))
        self.recurrent = nnx.Param(orthogonal(rngs.params(), (size, 3 * size)))
        self.bias = nnx.Param(jnp.zeros(3 * size))
        self.gate = nnx.Param(jnp.zeros(size))
        self.gate_bias = nnx.Param(jnp.full(length, open_bias, jnp.float32))
        self.head = nnx.Linear(size, classes, rngs=rngs)

    def __call__(
        self,
        inputs: jax.Array,
        *,
        gates: Literal["likeliest", "drawn", "open"] = "likeliest",
        rng: jax.Array | None = None,
    ) -> Skimmed:
        """Reads, or does not read, row by row.

        Args:
          inputs: ``[B, T, D]``.
          gates: ``"drawn"`` by their probabilities, ``"likeliest"``, open from a half
            on, or all ``"open"``.
          rng: the key that gates are drawn with.

        Returns:
          `Skimmed`. Gates have a gradient through their log-probability alone.

        Raises:
          ValueError: if the shape is wrong, there is no such choice, or a key lacks.
        """
        if inputs.ndim != 3 or inputs.shape[1] != self.length:
            raise ValueError(
                f"inputs must be [B, {self.length}, D], got {inputs.shape}"
            )
        if gates not in ("likeliest", "drawn", "open"):
            raise ValueError(f"gates must be likeliest, drawn or open, got {gates!r}")
        if gates == "drawn" and rng is None:
            raise ValueError("gates that are drawn need a key")
        batch = len(inputs)
        weights = Weights(self.inputs[...], self.recurrent[...], self.bias[...])
        gate, gate_bias = self.gate[...], self.gate_bias[...]
        places = jnp.broadcast_to(jnp.eye(self.length), (batch,) + (self.length,) * 2)
        rows = jnp.concatenate([inputs.astype(jnp.float32), places], axis=-1)
        drawn = jnp.zeros((batch, self.length))
        if gates == "drawn" and rng is not None:
            drawn = jax.random.uniform(rng, drawn.shape)

        def read(state: jax.Array, at: Any):
            row, bias, chance = at
            logit = jnp.dot(state, gate) + bias
            if gates == "drawn":
                is_open = chance < jax.nn.sigmoid(logit)
            elif gates == "likeliest":
                is_open = logit >= 0.0
            else:
                is_open = jnp.ones(batch, bool)
            after = jnp.where(is_open[:, None], gru_step(weights, state, row), state)
            log_p = jax.nn.log_sigmoid(jnp.where(is_open, logit, -logit))
            return after, (is_open, log_p)

        start = jnp.zeros((batch, self.size))
        by_time = jnp.swapaxes(rows, 0, 1), gate_bias, drawn.T
        last, (opened, log_p) = jax.lax.scan(read, start, by_time)
        return Skimmed(self.head(last), jnp.sum(log_p, axis=0), opened.T)
