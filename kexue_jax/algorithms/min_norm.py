"""The shortest vector of a convex hull, from inner products alone."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax.algorithms.nonnegative_quadratic import nonnegative_quadratic


class MinNorm(NamedTuple):
    r"""Weights ``[K]`` of the shortest vector u, its square, and how sure that is.

    `gap` is :math:`\|u\|^2 - \min_i \langle g_i, u\rangle`, at 0 only for the shortest;
    :math:`\|u\|^2` exceeds the least possible by no more than twice this.
    """

    weights: jax.Array
    squared_norm: jax.Array
    gap: jax.Array


def _measured(gram: jax.Array, weights: jax.Array, points: jax.Array) -> MinNorm:
    inner = jnp.matmul(gram, weights, precision=jax.lax.Precision.HIGHEST)
    square = jnp.maximum(jnp.vdot(weights, inner), 0.0)
    least = jnp.min(jnp.where(points, inner, inner + square))
    return MinNorm(weights, square, jnp.maximum(square - least, 0.0))


def _square(gram: jax.Array) -> None:
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not gram.size:
        raise ValueError(f"gram must be [K, K] with K > 0, got {gram.shape}")


def min_norm_point(
    gram: jax.Array, points: jax.typing.ArrayLike | None = None
) -> MinNorm:
    r"""The point of the convex hull of g_1, ..., g_K that is nearest to 0.

    .. math:: \min_{a \ge 0,\ \sum_i a_i = 1} \Big\|\sum_i a_i g_i\Big\|^2

    Its u has :math:`\langle g_i, u\rangle \ge \|u\|^2` for all i, with equality where
    :math:`a_i > 0`: a direction that every objective gains from, or 0 if there is none.

    Args:
      gram: ``[K, K]``, the inner products of the g_i.
      points: bool ``[K]``; where False, g_i is a ray: its weight is free of the sum,
        and u has an inner product >= 0 with it. At least one must be True.

    Returns:
      `MinNorm`, exact up to rounding. Of several weights for one u, one with few above
      0. A ray's share in `gap` is how far its inner product is below 0.

    Raises:
      ValueError: if `gram` is not square or is empty.

    Numerics: with s times the square of the sum added, s being the square of the
    shortest g_i, the constraint is gone and only the direction of the weights counts.
    So the error in :math:`\|u\|^2` is relative to the *shortest* g_i, not the longest.
    Source: https://kexue.fm/archives/8896, whose iteration is
      `min_norm_by_averaging`; here by an active set.
    """
    _square(gram)
    points = jnp.asarray(jnp.ones(len(gram), bool) if points is None else points)
    diagonal = jnp.diagonal(gram)
    largest = jnp.max(diagonal)
    shortest = jnp.min(jnp.where(points, diagonal, jnp.inf))
    tiny = largest * jnp.finfo(gram.dtype).eps ** 2
    scale = jnp.maximum(shortest, tiny)
    scale = jnp.where(scale > 0, scale, 1.0)
    ones = points.astype(gram.dtype)
    system = gram / scale + ones[:, None] * ones[None, :]
    x = nonnegative_quadratic(system, ones)
    total = jnp.vdot(ones, x)
    return _measured(gram, x / jnp.where(total > 0, total, 1.0), points)


def min_norm_by_frank_wolfe(gram: jax.Array, *, steps: int = 100) -> MinNorm:
    """The same by steps towards the g_i of the least inner product, with a line search.

    Each step costs one column of `gram`, [K, K]; convergence is slow where the hull is
    flat, as `gap` shows. For `min_norm_point` K must not be too large; here it may be.
    """
    return _towards_the_least(gram, steps, search=True)


def min_norm_by_averaging(gram: jax.Array, *, steps: int = 100) -> MinNorm:
    r"""The same by :math:`u \leftarrow (k u + g_\tau)/(k + 1)`, from the plain mean.

    :math:`\tau` has the least inner product with u; k counts from 1. The error falls as
    1/k, so the result is an approximation and `gap` says how good.

    Source: https://kexue.fm/archives/8896
    """
    return _towards_the_least(gram, steps, search=False)


def _towards_the_least(gram: jax.Array, steps: int, search: bool) -> MinNorm:
    _square(gram)
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    count = len(gram)

    def step(k, carry):
        weights, inner = carry
        worst = jnp.argmin(inner)
        square = jnp.vdot(weights, inner)
        if search:
            curve = square - 2.0 * inner[worst] + gram[worst, worst]
            part = (square - inner[worst]) / jnp.where(curve > 0, curve, 1.0)
            part = jnp.where(curve > 0, jnp.clip(part, 0.0, 1.0), 0.0)
        else:
            part = (1.0 / (k + 2)).astype(gram.dtype)
        chosen = (jnp.arange(count) == worst).astype(gram.dtype)
        return (
            (1.0 - part) * weights + part * chosen,
            (1.0 - part) * inner + part * gram[worst],
        )

    weights = jnp.full(count, 1.0 / count, gram.dtype)
    start = weights, jnp.matmul(gram, weights, precision=jax.lax.Precision.HIGHEST)
    weights, _ = jax.lax.fori_loop(0, steps, step, start)
    return _measured(gram, weights, jnp.ones(count, bool))
