"""The Wasserstein distance of normal distributions, and the ways between them.

Covariances are of the kinds of `kexue_jax.metrics.covariance`; leading axes broadcast.
"""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics
from kexue_jax.metrics.covariance import (
    EXACT,
    Covariance,
    Diagonal,
    checked,
    dense,
    factored,
    identity,
    level,
    product,
    size_of,
    solved,
    symmetric,
    transposed,
)

LOSS = 128.0  # roundings of traces by which a sum of roots may err, at the worst


def _factor_and_inverse(covariance):
    """F with F F' = C, and F^-T; of singular C that of its range."""

    def triangular(covariance):
        even = identity(covariance[..., 0])
        return lower, transposed(solved(lower, even))

    lower = factored(covariance).factor
    good = jnp.all(jnp.isfinite(lower))
    return jax.lax.cond(good, triangular, _spectral, covariance)


def _spectral(covariance):
    values, vectors = jnp.linalg.eigh(covariance)
    root, inverse = _roots(values)
    return vectors * root[..., None, :], vectors * inverse[..., None, :]


def _roots(values):
    """Roots of eigenvalues and their inverses, both 0 where nothing but rounding is."""
    least = values.shape[-1] * jnp.finfo(values.dtype).eps * values[..., -1:]
    seen = values > jnp.maximum(least, 0.0)
    root = jnp.where(seen, jnp.sqrt(jnp.where(seen, values, 1.0)), 0.0)
    return root, jnp.where(seen, 1.0 / jnp.where(seen, root, 1.0), 0.0)


@jax.custom_jvp
def _bures(cov_p, cov_q):
    """The squared distance of two centred normal distributions."""
    # On CPUs a trace takes a third of the time, elsewhere there are few kernels.
    roots = jax.lax.platform_dependent(
        cov_p, cov_q, cpu=_by_traces, default=_by_eigenvalues
    )
    return jnp.trace(cov_p + cov_q, axis1=-2, axis2=-1) - 2.0 * roots


@cache
def _nodes(dtype):
    r"""Shifts s, weights c, and a and b: the root as a sum of simple fractions.

    .. math:: \sqrt x \approx a + b x + \sum_k c_k x / (x + s_k)

    The trapezoidal rule for :math:`\sqrt x = \frac1\pi \int e^{u/2} x / (x + e^u) du`,
    whose error falls as fast as :math:`e^{-2 \pi^2 / h}`, good for x from eps to 1; a
    and b are the terms that are left out on both sides, as if x were far from them.
    """
    least = float(jnp.finfo(dtype).eps) / 10.0
    step = 2.0 * math.pi**2 / -math.log(least)
    far = -2.0 / 3.0 * math.log(least)  # where what a and b leave is as small
    places = np.arange(math.log(least) - far, far + step, step)
    weights = step / math.pi * np.exp(places / 2.0)
    rest = 1.0 / math.expm1(step / 2.0)
    below, above = weights[0] * rest, weights[-1] * math.exp(-places[-1]) * rest
    return np.exp(places).astype(dtype), weights.astype(dtype), below, above


def _traces_of_roots(matrix):
    """The greatest eigenvalue, or more, and traces of the root and of its inverse.

    Of symmetric matrices ``[..., D, D]``, nan if one is not definite. No eigenvalue is
    computed: the trace of A / (A + s) is the derivative by the logarithm of A of that
    of the determinant of A + s, which the pivots of a tridiagonal matrix give.
    """
    size = matrix.shape[-1]
    _, diagonal, beside, _ = jax.lax.linalg.tridiagonal(matrix, lower=True)
    bare = jnp.zeros_like(diagonal[..., :1])
    square = jnp.square(jnp.concatenate([bare, beside], axis=-1))
    radius = jnp.sqrt(square) + jnp.concatenate([jnp.abs(beside), bare], axis=-1)
    top = jnp.max(diagonal + radius, axis=-1)
    scale = jnp.where(top > 0.0, top, 1.0)[..., None]
    shifts, weights, below, above = _nodes(matrix.dtype)
    one = jnp.ones((*matrix.shape[:-2], len(shifts)), matrix.dtype)
    some = jnp.broadcast_to(shifts, one.shape)

    def step(carry, entry):
        pivot, slope, trace, least = carry
        own, other = (x[..., None] for x in entry)
        ratio = other / pivot
        slope = own - 2.0 * ratio + ratio / pivot * slope
        pivot = own + some - ratio
        return (pivot, slope, trace + slope / pivot, jnp.minimum(least, pivot)), None

    entries = diagonal / scale, square / scale**2
    entries = tuple(jnp.moveaxis(x, -1, 0) for x in entries)
    carry = one, one, jnp.zeros_like(one), one
    (_, _, trace, least), _ = jax.lax.scan(step, carry, entries, unroll=4)
    trace = jnp.where(jnp.min(least, axis=-1, keepdims=True) > 0.0, trace, jnp.nan)
    roots = jnp.matmul(trace, weights, precision=EXACT)
    roots = below * size + above * jnp.sum(diagonal / scale, axis=-1) + roots
    over = jnp.matmul(size - trace, weights / shifts, precision=EXACT)
    scale = jnp.sqrt(scale[..., 0])
    return top, jnp.where(top > 0.0, scale * roots, 0.0), over / scale


def _inner(factor, covariance):
    # In this order nothing is turned around before it is multiplied.
    return product(transposed(factor), product(covariance, factor))


def _by_traces(cov_p, cov_q):
    """The trace of the root, if no eigenvalue is so small that its root errs."""
    factor = factored(cov_p).factor
    top, roots, over = _traces_of_roots(_inner(factor, cov_q))
    # Rounding moves eigenvalues by eps * top, their roots by that over the root.
    trace = jnp.trace(cov_p + cov_q, axis1=-2, axis2=-1)
    return jax.lax.cond(
        jnp.all(top * over <= LOSS * trace),
        lambda: roots,
        lambda: _by_singular_values(cov_p, cov_q),
    )


def _by_singular_values(cov_p, cov_q):
    """Of F_p' F_q: their sum is that of the roots of the eigenvalues of C_p C_q."""

    def of_factors(factors):
        both = product(transposed(factors[0]), factors[1])
        return jnp.sum(jnp.linalg.svd(both, compute_uv=False), axis=-1)

    covs = jnp.stack([cov_p, cov_q])
    lower = factored(covs).factor
    return jax.lax.cond(
        jnp.all(jnp.isfinite(lower)),
        lambda: of_factors(lower),
        lambda: of_factors(_spectral(covs)[0]),
    )


def _by_eigenvalues(cov_p, cov_q):
    factor, _ = _factor_and_inverse(cov_p)
    inner = symmetric(_inner(factor, cov_q))
    root, _ = _roots(jnp.linalg.eigvalsh(inner))
    return jnp.sum(root, axis=-1)


def _maps(cov_p, cov_q):
    """The maps from p to q and from q to p, and the sum of the roots."""
    factor, inverse = _factor_and_inverse(cov_p)
    inner = symmetric(_inner(factor, cov_q))
    values, vectors = jnp.linalg.eigh(inner)
    root, over = _roots(values)
    there = product(inverse, vectors) * jnp.sqrt(root)[..., None, :]
    back = product(factor, vectors) * jnp.sqrt(over)[..., None, :]
    return product(there, transposed(there)), product(back, transposed(back)), root


@_bures.defjvp
def _bures_jvp(primals, tangents):
    (cov_p, cov_q), (way_p, way_q) = primals, tangents
    there, back, root = _maps(cov_p, cov_q)
    trace = jnp.trace(cov_p + cov_q, axis1=-2, axis2=-1)
    even = identity(cov_p[..., 0])
    change = jnp.sum((even - there) * way_p, axis=(-2, -1))
    change = change + jnp.sum((even - back) * way_q, axis=(-2, -1))
    return trace - 2.0 * jnp.sum(root, axis=-1), change


def wasserstein2_squared(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    r"""Squared 2-Wasserstein distance between two normal distributions.

    .. math:: \|\mu_p - \mu_q\|^2 + \operatorname{tr}\big(\Sigma_p + \Sigma_q
              - 2(\Sigma_p^{1/2} \Sigma_q \Sigma_p^{1/2})^{1/2}\big)

    With :math:`\Sigma_p = F F^\top` the inner matrix has the eigenvalues of
    :math:`F^\top \Sigma_q F`, so no matrix root is taken.

    Args:
      mean_p, mean_q: ``[..., D]``.
      cov_p, cov_q: covariances of size D, at least semidefinite.

    Returns:
      ``[...]``, never below 0, in squared units of the samples.

    Raises:
      ValueError: if the sizes disagree.

    Numerics: float32, or wider if the arguments are; the error is some roundings of the
      traces, so of near distributions little is left. First derivatives are in closed
      form, finite at equal eigenvalues, and at singular covariances those along what
      the covariance spans, the others being infinite. Adding :math:`\epsilon I` to a
      covariance changes the distance (not squared) by at most
      :math:`\sqrt{D \epsilon}`.

    Source: https://kexue.fm/archives/8512
    """
    mean_p, cov_p, mean_q, cov_q = checked(mean_p, cov_p, mean_q, cov_q)
    shift = jnp.sum(jnp.square(mean_p - mean_q), axis=-1)
    if isinstance(cov_p, Diagonal) and isinstance(cov_q, Diagonal):
        sizes = jnp.abs(cov_p.scale) - jnp.abs(cov_q.scale)
        return shift + jnp.sum(jnp.square(sizes), axis=-1)
    bures = _bures(*level(dense(cov_p), dense(cov_q)))
    return jnp.maximum(shift + bures, 0.0)


def optimal_map(cov_p: Covariance, cov_q: Covariance) -> jax.Array:
    r"""The matrix A of the map :math:`x \mapsto \mu_q + A (x - \mu_p)` from p to q.

    .. math:: A = F^{-\top} (F^\top \Sigma_q F)^{1/2} F^{-1}, \quad
              \Sigma_p = F F^\top

    Of all maps with :math:`A \Sigma_p A^\top = \Sigma_q` it is the symmetric positive
    one, and moves the mass at the least squared cost, `wasserstein2_squared`.

    Args:
      cov_p, cov_q: covariances of one size, at least semidefinite; what p does not span
        is mapped to 0.

    Returns:
      ``[..., D, D]``, symmetric.

    Raises:
      ValueError: if the sizes disagree.
    """
    if size_of(cov_p) != size_of(cov_q):
        raise ValueError(
            f"cov_p and cov_q must be of one size, got {size_of(cov_p)} and "
            f"{size_of(cov_q)}"
        )
    wide = [
        dense(jax.tree.map(lambda x: numerics.widened(jnp.asarray(x)), c))
        for c in (cov_p, cov_q)
    ]
    return _maps(*level(*wide))[0]


def wasserstein2_geodesic(
    mean_p: jax.Array,
    cov_p: Covariance,
    mean_q: jax.Array,
    cov_q: Covariance,
    time: float | jax.Array,
) -> tuple[jax.Array, jax.Array]:
    r"""The normal distribution on the shortest way from p to q.

    .. math:: \mu_t = (1 - t) \mu_p + t \mu_q, \quad
              \Sigma_t = B \Sigma_p B, \; B = (1 - t) I + t A

    Args:
      mean_p, cov_p, mean_q, cov_q: as in `wasserstein2_squared`, p definite.
      time: t from 0 to 1, broadcastable to the leading axes.

    Returns:
      Mean ``[..., D]`` and covariance ``[..., D, D]``; the distances to p and to q are
      shares t and 1 - t of that from p to q.

    Raises:
      ValueError: if the sizes disagree.

    Source: McCann, Advances in Mathematics 128 (1997).
    """
    mean_p, cov_p, mean_q, cov_q = checked(mean_p, cov_p, mean_q, cov_q)
    time = jnp.asarray(time, mean_p.dtype)[..., None]
    even = identity(mean_p)
    there = time[..., None]
    way = (1.0 - there) * even + there * optimal_map(cov_p, cov_q)
    mean = (1.0 - time) * mean_p + time * mean_q
    return mean, symmetric(product(way, dense(cov_p), way))


def wasserstein2_barycentre(
    means: jax.Array,
    covariances: jax.Array,
    weights: jax.Array,
    *,
    steps: int = 30,
) -> tuple[jax.Array, jax.Array]:
    r"""The normal distribution with the least mean squared distance to several.

    .. math:: \min_{\mu, \Sigma} \sum_k w_k W_2^2\big(N(\mu, \Sigma),
              N(\mu_k, \Sigma_k)\big)

    Each step moves the covariance by the mean of the optimal maps from it; the sum
    never rises.

    Args:
      means: ``[K, D]``.
      covariances: ``[K, D, D]``, definite.
      weights: ``[K]``, not negative, of sum 1.
      steps: how many, at least 1; some ten are enough unless spectra differ much.

    Returns:
      Mean ``[D]`` and covariance ``[D, D]``.

    Raises:
      ValueError: if the shapes disagree or there are no steps.

    Source: Alvarez-Esteban et al., https://arxiv.org/abs/1511.05355
    """
    count, size = means.shape[0], means.shape[-1]
    if covariances.shape != (count, size, size) or weights.shape != (count,):
        raise ValueError(
            "means, covariances and weights must be [K, D], [K, D, D] and [K], got "
            f"{means.shape}, {covariances.shape} and {weights.shape}"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    means, covariances, weights = (
        numerics.widened(x) for x in (means, covariances, weights)
    )

    def step(_, covariance):
        maps = optimal_map(covariance[None], covariances)
        way = jnp.einsum("k,kij->ij", weights, maps)
        return symmetric(product(way, covariance, way))

    start = jnp.einsum("k,kij->ij", weights, symmetric(covariances))
    covariance = jax.lax.fori_loop(0, steps, step, start)
    return weights @ means, covariance
