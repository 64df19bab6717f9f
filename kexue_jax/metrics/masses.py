"""What is asked of two distributions before one is moved onto the other."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike

LEAST = 1e-4  # by how much sums may always differ, as a share


def _share(p, q) -> float:
    """By how much sums may differ, as a share: what rounding does to them."""
    return max(LEAST, *(float(jnp.finfo(x.dtype).eps) for x in (p, q)))


def check_masses(
    cost: ArrayLike, p: ArrayLike, q: ArrayLike, *, of_one_sum: bool = True
) -> list[jax.Array]:
    """Refuses shapes and dtypes that do not fit, and masses where they are known.

    Args:
      cost, p, q: ``[..., M, N]``, ``[..., M]`` and ``[..., N]``.
      of_one_sum: whether the sums must be the same, to 1e-4 or what the dtype rounds.

    Returns:
      The same three as jax arrays.

    Raises:
      ValueError: it names the argument. Masses that are traced are not looked at.
    """
    # Before they are jax arrays: within a compiled function all of those are traced.
    given = (cost, p, q)
    cost, p, q = (x if isinstance(x, jax.Array) else np.asarray(x) for x in given)
    if cost.ndim < 2 or p.shape != cost.shape[:-1]:
        raise ValueError(
            f"cost and p must be [..., M, N] and [..., M], got {cost.shape}, {p.shape}"
        )
    if q.shape != (*cost.shape[:-2], cost.shape[-1]):
        raise ValueError(
            f"cost and q must be [..., M, N] and [..., N], got {cost.shape}, {q.shape}"
        )
    for name, x in (("cost", cost), ("p", p), ("q", q)):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating, got {x.dtype}")
    made = [jnp.asarray(x) for x in (cost, p, q)]
    if isinstance(p, Tracer) or isinstance(q, Tracer):
        return made
    known = [np.asarray(x, np.float64) for x in (p, q)]
    for name, x in zip(("p", "q"), known, strict=True):
        if np.min(x, initial=0.0) < 0.0:
            raise ValueError(f"{name} must not be negative, got {np.min(x)}")
    sums = [x.sum(axis=-1) for x in known]
    if of_one_sum and np.any(
        ~(np.abs(sums[0] - sums[1]) <= _share(p, q) * np.maximum(*sums))
    ):
        raise ValueError(
            f"p and q must have the same sums, got {sums[0]} and {sums[1]}"
        )
    return made


def of_one_sum(p: jax.Array, q: jax.Array, kind: jnp.dtype) -> list[jax.Array]:
    """Returns both in dtype `kind`, `q` of the sum of `p`; nan where sums disagree.

    By the masses the derivatives are as if nothing had been rescaled.
    """
    share = _share(p, q)
    p, q = p.astype(kind), q.astype(kind)
    first, second = (jnp.sum(x, axis=-1, keepdims=True) for x in (p, q))
    near = jnp.abs(first - second) <= share * jnp.maximum(first, second)
    ratio = first / jnp.where(second > 0.0, second, 1.0)
    ratio = jnp.where(second > 0.0, ratio, 1.0)
    return [p, q * jax.lax.stop_gradient(jnp.where(near, ratio, jnp.nan))]
