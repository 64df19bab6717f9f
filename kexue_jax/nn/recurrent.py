"""A recurrent net of any cell, which reads a sequence and gives scores of classes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms import recurrent
from kexue_jax.algorithms.recurrent_gradients import state_gradients

PARTS: dict[Callable[..., Any], tuple[int, bool]] = {
    recurrent.simple_step: (1, False),
    recurrent.lstm_step: (4, True),
    recurrent.gru_step: (3, False),
    recurrent.minimal_gru_step: (2, False),
    recurrent.reset_last_step: (3, True),
}
"""Of each step, how many gates and candidates it has, and whether its state is two."""


class RecurrentClassifier(nnx.Module):
    """Gives scores of classes to the state at the end of a sequence.

    Weights of inputs begin as Glorot's, recurrent ones orthogonal (of gates and
    candidate side by side), biases as they are given.
    """

    def __init__(
        self,
        columns: int,
        classes: int,
        *,
        size: int,
        step: Callable[..., Any] = recurrent.lstm_step,
        biases: Sequence[float] = (),
        rngs: nnx.Rngs,
    ):
        """Makes a net.

        Args:
          columns: D of the inputs.
          classes: C.
          size: H, units of the state.
          step: of `kexue_jax.algorithms.recurrent`, or a partial of one.
          biases: what the bias of each gate and candidate begins with, in the order of
            the step; none for zeros.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if the step is not known or `biases` are not as many as its parts.
        """
        inner = step.func if isinstance(step, partial) else step
        if inner not in PARTS:
            raise ValueError(
                "step must be one of kexue_jax.algorithms.recurrent that takes plain "
                f"Weights, got {step!r}"
            )
        gates, self.has_cell = PARTS[inner]
        biases = tuple(biases) or (0.0,) * gates
        if len(biases) != gates:
            raise ValueError(f"biases must be {gates} numbers or none, got {biases}")
        self.step, self.size = step, size
        glorot, orthogonal = (
            nnx.initializers.glorot_uniform(),
            nnx.initializers.orthogonal(),
        )
        self.inputs = nnx.Param(glorot(rngs.params(), (columns, gates * size)))
        self.recurrent = nnx.Param(orthogonal(rngs.params(), (size, gates * size)))
        self.bias = nnx.Param(jnp.repeat(jnp.array(biases, jnp.float32), size))
        self.head = nnx.Linear(size, classes, rngs=rngs)

    def _weights(self) -> recurrent.Weights:
        return recurrent.Weights(self.inputs[...], self.recurrent[...], self.bias[...])

    def _start(self, batch: int) -> Any:
        zero = jnp.zeros((batch, self.size), jnp.float32)
        return recurrent.CellState(zero, zero) if self.has_cell else zero

    def _scores(self, state: Any) -> jax.Array:
        return self.head(state.hidden if self.has_cell else state)

    def __call__(self, inputs: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Returns scores ``[B, C]`` of `inputs` ``[B, T, D]``.

        Where `mask` ``[B, T]`` is False the state stays as it was.
        """
        last, _ = recurrent.unroll(
            self.step, self._weights(), self._start(len(inputs)), inputs, mask
        )
        return self._scores(last)

    def gradients(self, inputs: jax.Array, label: jax.Array) -> jax.Array:
        """Returns how large the gradient of the loss is by each state, ``[B, T + 1]``.

        See `state_gradients`; the loss is the cross-entropy of `label` ``[B]``.
        """

        def loss(state):
            logs = jax.nn.log_softmax(self._scores(state))
            return -jnp.sum(jnp.take_along_axis(logs, label[:, None], axis=1))

        return state_gradients(
            self.step,
            self._weights(),
            self._start(len(inputs)),
            inputs,
            jax.grad(loss),
        )
