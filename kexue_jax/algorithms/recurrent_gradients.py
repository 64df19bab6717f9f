"""How much of a gradient comes back from the last state to all those before it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def state_gradients(
    step: Callable[..., Any],
    params: Any,
    start: Any,
    inputs: jax.Array,
    slope: Callable[[Any], Any],
) -> jax.Array:
    r"""The size of the derivative of a loss of the last state, by each state.

    .. math:: \Big\| \frac{\partial L(s_T)}{\partial s_t} \Big\|, \quad
              \frac{\partial L}{\partial s_{t-1}} =
              \Big(\frac{\partial s_t}{\partial s_{t-1}}\Big)^{\!\top}
              \frac{\partial L}{\partial s_t}

    That gradients vanish means that this falls with T - t. The gradient of a weight
    need not, as it is the sum over all steps. A state of two parts counts both: the
    cell and what it shows.

    Args:
      step: ``(params, state, inputs [B, D]) -> state``, any of `recurrent`.
      params: its weights.
      start: :math:`s_0`, arrays ``[B, H]``.
      inputs: ``[B, T, D]``.
      slope: from the last state to the derivative of L by it, of the same structure;
        such as `jax.grad` of a loss.

    Returns:
      ``[B, T + 1]`` float32, the last entry for the last state.

    Raises:
      ValueError: if `inputs` is not of rank 3.

    Source: https://kexue.fm/archives/7888
    """
    if inputs.ndim != 3:
        raise ValueError(f"inputs must be [B, T, D], got {inputs.shape}")
    start = jax.tree.map(lambda s: s.astype(jnp.float32), start)
    by_time = jnp.moveaxis(inputs, 1, 0)

    def advance(state, now):
        return step(params, state, now), state

    def size(gradient):
        squares = [jnp.sum(jnp.square(g), axis=-1) for g in jax.tree.leaves(gradient)]
        return jnp.sqrt(sum(squares[1:], squares[0]))

    def back(gradient, at):
        before, now = at
        _, pull = jax.vjp(lambda state: step(params, state, now), before)
        (gradient,) = pull(gradient)
        return gradient, size(gradient)

    last, states = jax.lax.scan(advance, start, by_time)
    gradient = slope(last)
    _, sizes = jax.lax.scan(back, gradient, (states, by_time), reverse=True)
    return jnp.concatenate([sizes, size(gradient)[None]], axis=0).T
