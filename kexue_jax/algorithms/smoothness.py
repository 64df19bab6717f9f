"""How fast a gradient changes along a step."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kexue_jax.numerics import widened


def _norm(tree: Any) -> jax.Array:
    squares = [jnp.sum(jnp.square(widened(x))) for x in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(squares, jnp.zeros((), jnp.float32)))


def local_smoothness(
    grad_fn: Callable[[Any], Any], x0: Any, x1: Any, deltas: Sequence[float] = (0.5,)
) -> jax.Array:
    r"""Returns the largest slope of the gradient on the way from x0 to x1.

    .. math:: \max_\delta \frac{\|g(x_0 + \delta(x_1 - x_0)) - g(x_0)\|}
              {\delta\|x_1 - x_0\|}

    Against the norm of the gradient at x0, in logarithms, it rises where clipping pays.

    Args:
      grad_fn: from a tree like x0 to its gradient.
      x0, x1: trees of floating arrays, consecutive weights of a trajectory.
      deltas: parts of the way, in (0, 1].

    Returns:
      ``[]`` float32; 0 where x0 and x1 are equal.

    Raises:
      ValueError: if `deltas` is empty or leaves (0, 1].

    Source: https://arxiv.org/abs/1905.11881, https://kexue.fm/archives/7469
    """
    if not deltas or min(deltas) <= 0 or max(deltas) > 1:
        raise ValueError(f"deltas must be some numbers in (0, 1], got {tuple(deltas)}")
    way = jax.tree.map(jnp.subtract, x1, x0)
    start, length = grad_fn(x0), _norm(way)

    def slope(delta):
        there = jax.tree.map(lambda x, d: x + delta.astype(x.dtype) * d, x0, way)
        change = jax.tree.map(jnp.subtract, grad_fn(there), start)
        moved = delta * length
        return jnp.where(moved > 0, _norm(change) / jnp.where(moved > 0, moved, 1.0), 0)

    return jnp.max(jax.lax.map(slope, jnp.array(deltas, jnp.float32)))
