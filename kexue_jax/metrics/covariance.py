"""Covariances as arrays, or by what they are made of, and what distances need of them.

A covariance is an array ``[..., D, D]``, or one of the three kinds of this module,
which need no D by D array or no decomposition of one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics

EXACT = jax.lax.Precision.HIGHEST


class Cholesky(NamedTuple):
    """:math:`L L^\\top`; `factor` ``[..., D, D]`` is lower triangular."""

    factor: jax.Array


class Diagonal(NamedTuple):
    """:math:`\\mathrm{diag}(\\sigma^2)`; `scale` ``[..., D]`` are deviations."""

    scale: jax.Array


class LowRank(NamedTuple):
    """:math:`F F^\\top + \\mathrm{diag}(v)`, for many dimensions and few factors.

    `factor` is ``[..., D, R]``, `variance` ``[..., D]``, positive.
    """

    factor: jax.Array
    variance: jax.Array


Covariance = jax.Array | Cholesky | Diagonal | LowRank


def size_of(covariance: Covariance) -> int:
    """Returns D.

    Raises:
      ValueError: if the parts do not fit each other.
    """
    if isinstance(covariance, Diagonal):
        return covariance.scale.shape[-1]
    if isinstance(covariance, LowRank):
        size = covariance.variance.shape[-1]
        if covariance.factor.ndim < 2 or covariance.factor.shape[-2] != size:
            raise ValueError(
                "factor and variance must be [..., D, R] and [..., D], got "
                f"{covariance.factor.shape} and {covariance.variance.shape}"
            )
        return size
    square = covariance.factor if isinstance(covariance, Cholesky) else covariance
    if square.ndim < 2 or square.shape[-1] != square.shape[-2]:
        raise ValueError(f"a covariance must be [..., D, D], got {square.shape}")
    return square.shape[-1]


def transposed(matrix: jax.Array) -> jax.Array:
    """Returns ``[..., N, M]`` of ``[..., M, N]``."""
    return jnp.swapaxes(matrix, -1, -2)


def symmetric(matrix: jax.Array) -> jax.Array:
    """Returns the symmetric part of ``[..., D, D]``."""
    return 0.5 * (matrix + transposed(matrix))


def product(*matrices: jax.Array) -> jax.Array:
    """Returns the product of matrices ``[..., M, N]``, not in a coarser format."""
    found = matrices[0]
    for other in matrices[1:]:
        found = jnp.matmul(found, other, precision=EXACT)
    return found


def dense(covariance: Covariance) -> jax.Array:
    """Returns a covariance as an array ``[..., D, D]``."""
    if isinstance(covariance, Cholesky):
        lower = jnp.tril(covariance.factor)
        return product(lower, transposed(lower))
    if isinstance(covariance, Diagonal):
        return _on_diagonal(jnp.square(covariance.scale))
    if isinstance(covariance, LowRank):
        made = product(covariance.factor, transposed(covariance.factor))
        return made + _on_diagonal(covariance.variance)
    return symmetric(covariance)


def _on_diagonal(entries):
    return jnp.where(identity(entries) > 0.0, entries[..., :, None], 0.0)


def identity(like: jax.Array) -> jax.Array:
    """Returns ``[..., D, D]`` with as many leading axes of 1 as ``[..., D]`` has."""
    size, lead = like.shape[-1], (1,) * (like.ndim - 1)
    return jnp.eye(size, dtype=like.dtype).reshape(*lead, size, size)


def alike(p: Covariance, q: Covariance) -> tuple[Covariance, Covariance]:
    """Returns both as one kind, Cholesky factors if nothing narrower holds both."""
    if isinstance(p, Diagonal) and isinstance(q, Diagonal):
        return p, q
    narrow = (Diagonal, LowRank)
    if isinstance(p, narrow) and isinstance(q, narrow):
        return _as_low_rank(p), _as_low_rank(q)
    return factored(p), factored(q)


def _as_low_rank(covariance):
    if isinstance(covariance, LowRank):
        return covariance
    scale = covariance.scale
    return LowRank(jnp.zeros((*scale.shape, 1), scale.dtype), jnp.square(scale))


def factored(covariance: Covariance) -> Cholesky:
    """Returns the lower triangular factor; nan if it is not definite."""
    if isinstance(covariance, Cholesky):
        return Cholesky(jnp.tril(covariance.factor))
    return Cholesky(jnp.linalg.cholesky(dense(covariance), symmetrize_input=False))


def combined(p: Covariance, q: Covariance, of_p: float, of_q: float) -> Covariance:
    """Returns a weighted sum of two covariances."""
    if isinstance(p, Diagonal) and isinstance(q, Diagonal):
        square = of_p * jnp.square(p.scale) + of_q * jnp.square(q.scale)
        some = square > 0.0
        return Diagonal(jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0))
    narrow = (Diagonal, LowRank)
    both = isinstance(p, narrow) and isinstance(q, narrow)
    if both and of_p >= 0.0 and of_q >= 0.0:
        p, q = _as_low_rank(p), _as_low_rank(q)
        lead = jnp.broadcast_shapes(p.factor.shape[:-2], q.factor.shape[:-2])
        parts = [
            jnp.broadcast_to(share**0.5 * c.factor, (*lead, *c.factor.shape[-2:]))
            for c, share in ((p, of_p), (q, of_q))
        ]
        variance = of_p * p.variance + of_q * q.variance
        return LowRank(jnp.concatenate(parts, axis=-1), variance)
    return of_p * dense(p) + of_q * dense(q)


def solved(factor, right):
    """Solves L x = b for lower triangular L, ``[..., D, D]`` and ``[..., D, K]``."""
    lead = jnp.broadcast_shapes(factor.shape[:-2], right.shape[:-2])
    factor = jnp.broadcast_to(factor, (*lead, *factor.shape[-2:]))
    right = jnp.broadcast_to(right, (*lead, *right.shape[-2:]))
    return jax.lax.linalg.triangular_solve(factor, right, left_side=True, lower=True)


def _capacitance(covariance):
    """Factor of I + F' V^-1 F, and V^-1 F."""
    scaled = covariance.factor / covariance.variance[..., None]
    inner = product(transposed(covariance.factor), scaled)
    inner = inner + identity(covariance.factor[..., 0, :])
    return jnp.linalg.cholesky(inner, symmetrize_input=False), scaled


def log_determinant(covariance: Covariance) -> jax.Array:
    """Returns ``[...]``; -inf if an entry of a diagonal is 0."""
    if isinstance(covariance, Diagonal):
        return 2.0 * jnp.sum(jnp.log(jnp.abs(covariance.scale)), axis=-1)
    if isinstance(covariance, LowRank):
        inner, _ = _capacitance(covariance)
        own = jnp.sum(jnp.log(covariance.variance), axis=-1)
        return own + log_determinant(Cholesky(inner))
    factor = factored(covariance).factor
    diagonal = jnp.diagonal(factor, axis1=-2, axis2=-1)
    return 2.0 * jnp.sum(jnp.log(jnp.abs(diagonal)), axis=-1)


def quadratic(covariance: Covariance, shift: jax.Array) -> jax.Array:
    """Returns :math:`x^\\top C^{-1} x` ``[...]`` for `shift` ``[..., D]``."""
    if isinstance(covariance, Diagonal):
        return jnp.sum(jnp.square(shift / covariance.scale), axis=-1)
    if isinstance(covariance, LowRank):
        inner, scaled = _capacitance(covariance)
        own = jnp.sum(jnp.square(shift) / covariance.variance, axis=-1)
        seen = jnp.sum(scaled * shift[..., None], axis=-2)[..., None]
        return own - jnp.sum(jnp.square(solved(inner, seen)), axis=(-2, -1))
    found = solved(factored(covariance).factor, shift[..., None])
    return jnp.sum(jnp.square(found), axis=(-2, -1))


def trace_of_ratio(p: Covariance, q: Covariance) -> jax.Array:
    """Returns the trace of :math:`C_q^{-1} C_p`, ``[...]``."""
    p, q = alike(p, q)
    if isinstance(p, Diagonal) and isinstance(q, Diagonal):
        return jnp.sum(jnp.square(p.scale / q.scale), axis=-1)
    if isinstance(p, LowRank) and isinstance(q, LowRank):
        inner, scaled = _capacitance(q)
        diagonal = p.variance + jnp.sum(jnp.square(p.factor), axis=-1)
        own = jnp.sum(diagonal / q.variance, axis=-1)
        # tr(K^-1 S' C_p S) with K the capacitance and S = V_q^-1 F_q
        half = solved(inner, transposed(scaled))
        by_factor = product(half, p.factor)
        by_variance = jnp.square(half) * p.variance[..., None, :]
        return own - (
            jnp.sum(jnp.square(by_factor), axis=(-2, -1))
            + jnp.sum(by_variance, axis=(-2, -1))
        )
    found = solved(factored(q).factor, factored(p).factor)
    return jnp.sum(jnp.square(found), axis=(-2, -1))


def checked(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> list:
    """Returns the same four as jax arrays, float32 or wider, if they are of one size.

    Raises:
      ValueError: if the sizes disagree.
    """
    sizes = (mean_p.shape[-1], size_of(cov_p), mean_q.shape[-1], size_of(cov_q))
    if len(set(sizes)) > 1:
        raise ValueError(
            "mean_p, cov_p, mean_q and cov_q must be of one size, got "
            f"{', '.join(map(str, sizes))}"
        )
    wide = [
        jax.tree.map(lambda x: numerics.widened(jnp.asarray(x)), part)
        for part in (mean_p, cov_p, mean_q, cov_q)
    ]
    return wide


def level(*arrays: jax.Array) -> list[jax.Array]:
    """Returns the same matrices, each with the leading axes of all."""
    lead = jnp.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    return [jnp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in arrays]
