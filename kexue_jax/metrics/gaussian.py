"""Closed-form distances between normal distributions.

A covariance is an array ``[..., D, D]`` or one of the kinds of
`kexue_jax.metrics.covariance`: a Cholesky factor, deviations, or a few factors and a
diagonal. Distances are batched over leading axes, which broadcast.
"""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.metrics.covariance import (
    Cholesky,
    Covariance,
    Diagonal,
    alike,
    combined,
    dense,
    factored,
    identity,
    log_determinant,
    product,
    quadratic,
    size_of,
    solved,
    symmetric,
    trace_of_ratio,
    transposed,
)


def _checked(mean_p, cov_p, mean_q, cov_q):
    """The same four, wide enough and of one size.

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


def _is_finite(covariance):
    return jnp.all(jnp.isfinite(covariance), axis=(-2, -1))


def _definite(covariance):
    """A covariance that can be factored, and where it is the one that was given."""
    if isinstance(covariance, Diagonal):
        good = jnp.all(covariance.scale != 0.0, axis=-1)
        return Diagonal(jnp.where(good[..., None], covariance.scale, 1.0)), good
    if not isinstance(covariance, jax.Array):
        return covariance, jnp.asarray(True)
    still = jax.lax.stop_gradient(covariance)
    good = _is_finite(factored(still).factor) | ~_is_finite(still)
    even = identity(covariance[..., 0])
    return jnp.where(good[..., None, None], covariance, even), good


@jax.custom_jvp
def _kl(mean_p, cov_p, mean_q, cov_q):
    """KL of dense covariances."""
    return _kl_parts(mean_p, cov_p, mean_q, cov_q)[0]


def _kl_parts(mean_p, cov_p, mean_q, cov_q):
    """The divergence, and what its derivatives are made of."""
    own, other = factored(cov_p).factor, factored(cov_q).factor
    shift = mean_p - mean_q
    whole = solved(other, jnp.concatenate(_level(shift[..., None], own), axis=-1))
    moved = jnp.sum(jnp.square(whole), axis=(-2, -1))
    size = mean_p.shape[-1]
    ratio = log_determinant(Cholesky(own)) - log_determinant(Cholesky(other))
    return 0.5 * (moved - ratio - size), own, other, whole


def _level(*arrays):
    """The same arrays with the leading axes of all."""
    lead = jnp.broadcast_shapes(*(x.shape[:-2] for x in arrays))
    return [jnp.broadcast_to(x, (*lead, *x.shape[-2:])) for x in arrays]


@_kl.defjvp
def _kl_jvp(primals, tangents):
    found, own, other, whole = _kl_parts(*primals)
    even = identity(own[..., 0])
    half_p, half_q = solved(own, even), solved(other, even)
    inverse_p = product(transposed(half_p), half_p)
    inverse_q = product(transposed(half_q), half_q)
    pulled = product(transposed(half_q), whole)  # C_q^-1 [shift, L_p]
    by_mean = pulled[..., 0]
    by_q = inverse_q - product(pulled, transposed(pulled))
    mean_p, cov_p, mean_q, cov_q = tangents
    change = (
        jnp.sum(by_mean * (mean_p - mean_q), axis=-1)
        + 0.5 * jnp.sum((inverse_q - inverse_p) * cov_p, axis=(-2, -1))
        + 0.5 * jnp.sum(by_q * cov_q, axis=(-2, -1))
    )
    return found, change


def gaussian_kl(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    r"""Kullback-Leibler divergence of q from p, KL(p || q), for normal distributions.

    .. math:: \tfrac12 \big[ \Delta^\top \Sigma_q^{-1} \Delta
              - \log\det \Sigma_q^{-1} \Sigma_p
              + \operatorname{tr} \Sigma_q^{-1} \Sigma_p - D \big]

    Args:
      mean_p, mean_q: ``[..., D]``.
      cov_p, cov_q: covariances of size D, definite.

    Returns:
      ``[...]`` in nats; inf where a dense or diagonal covariance is not definite.

    Raises:
      ValueError: if the sizes disagree.

    Numerics: float32, or wider if the arguments are; by triangular solves, and with a
      gradient in closed form for arrays.

    Source: https://kexue.fm/archives/8512

    >>> mean, cov = jnp.array([1.0, 0.0]), jnp.eye(2)
    >>> print(f"{gaussian_kl(mean, cov, jnp.zeros(2), 2.0 * cov):.4f}")
    0.4431
    """
    mean_p, cov_p, mean_q, cov_q = _checked(mean_p, cov_p, mean_q, cov_q)
    (cov_p, good_p), (cov_q, good_q) = _definite(cov_p), _definite(cov_q)
    if isinstance(cov_p, jax.Array) and isinstance(cov_q, jax.Array):
        found = _kl(mean_p, symmetric(cov_p), mean_q, symmetric(cov_q))
    else:
        cov_p, cov_q = alike(cov_p, cov_q)
        ratio = log_determinant(cov_p) - log_determinant(cov_q)
        moved = quadratic(cov_q, mean_p - mean_q) + trace_of_ratio(cov_p, cov_q)
        found = 0.5 * (moved - ratio - mean_p.shape[-1])
    return jnp.where(good_p & good_q, jnp.maximum(found, 0.0), jnp.inf)


def gaussian_jeffreys(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    """KL(p || q) + KL(q || p); see `gaussian_kl`, whose arguments it has."""
    there = gaussian_kl(mean_p, cov_p, mean_q, cov_q)
    return there + gaussian_kl(mean_q, cov_q, mean_p, cov_p)


def gaussian_renyi(
    mean_p: jax.Array,
    cov_p: Covariance,
    mean_q: jax.Array,
    cov_q: Covariance,
    *,
    order: float,
) -> jax.Array:
    r"""Renyi divergence of q from p, for normal distributions.

    .. math:: \frac{\alpha}{2} \Delta^\top \Sigma_\alpha^{-1} \Delta
              - \frac{1}{2 (\alpha - 1)} \log \frac{\det \Sigma_\alpha}
              {\det \Sigma_p^{1 - \alpha} \det \Sigma_q^{\alpha}}, \quad
              \Sigma_\alpha = (1 - \alpha) \Sigma_p + \alpha \Sigma_q

    Args:
      mean_p, cov_p, mean_q, cov_q: as in `gaussian_kl`.
      order: :math:`\alpha`, positive and not 1; near 1 it is near `gaussian_kl`.

    Returns:
      ``[...]`` in nats; inf where a covariance is not definite, or, with an order above
      1, :math:`\Sigma_\alpha` is not.

    Raises:
      ValueError: if the sizes disagree or the order is out of range.

    Source: Gil, Alajaji and Linder, Information Sciences 249 (2013).
    """
    if not order > 0.0 or order == 1.0:
        raise ValueError(f"order must be positive and not 1, got {order}")
    mean_p, cov_p, mean_q, cov_q = _checked(mean_p, cov_p, mean_q, cov_q)
    (cov_p, good_p), (cov_q, good_q) = _definite(cov_p), _definite(cov_q)
    between, good = _definite(combined(cov_p, cov_q, 1.0 - order, order))
    own = (1.0 - order) * log_determinant(cov_p) + order * log_determinant(cov_q)
    apart = 0.5 * order * quadratic(between, mean_p - mean_q)
    found = apart - 0.5 * (log_determinant(between) - own) / (order - 1.0)
    return jnp.where(good & good_p & good_q, jnp.maximum(found, 0.0), jnp.inf)


def gaussian_bhattacharyya(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    r"""Bhattacharyya distance of two normal distributions, :math:`-\log\int\sqrt{pq}`.

    .. math:: \tfrac12 \log \frac{\det \Sigma}{\sqrt{\det \Sigma_p \det \Sigma_q}}
              + \tfrac18 \Delta^\top \Sigma^{-1} \Delta, \quad
              \Sigma = \tfrac12 (\Sigma_p + \Sigma_q)

    Arguments, result and errors are those of `gaussian_kl`; it is symmetric, and no
    metric.

    Source: https://kexue.fm/archives/8512
    """
    return 0.5 * gaussian_renyi(mean_p, cov_p, mean_q, cov_q, order=0.5)


def gaussian_hellinger_squared(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    r"""Squared Hellinger distance :math:`\tfrac12 \int (\sqrt p - \sqrt q)^2`, 0 to 1.

    One less the exponential of minus `gaussian_bhattacharyya`, whose arguments and
    errors it has; 1 where a covariance is not definite. Its root is a metric.
    """
    return -jnp.expm1(-gaussian_bhattacharyya(mean_p, cov_p, mean_q, cov_q))


def _factor(covariance):
    """F and F^-T with F F' = C; for singular C the inverse is that of its range."""

    def triangular(covariance, lower):
        even = identity(covariance[..., 0])
        return lower, transposed(solved(lower, even))

    def spectral(covariance, lower):
        del lower
        values, vectors = jnp.linalg.eigh(covariance)
        root, inverse = _roots(values)
        return vectors * root[..., None, :], vectors * inverse[..., None, :]

    lower = factored(covariance).factor
    return jax.lax.cond(
        jnp.all(jnp.isfinite(lower)), triangular, spectral, covariance, lower
    )


def _roots(values):
    """Roots of eigenvalues and their inverses, both 0 where nothing but rounding is."""
    least = values.shape[-1] * jnp.finfo(values.dtype).eps * values[..., -1:]
    seen = values > jnp.maximum(least, 0.0)
    root = jnp.where(seen, jnp.sqrt(jnp.where(seen, values, 1.0)), 0.0)
    return root, jnp.where(seen, 1.0 / jnp.where(seen, root, 1.0), 0.0)


@jax.custom_jvp
def _bures(cov_p, cov_q):
    """The squared distance of two centred normal distributions."""
    factor = _factor_alone(cov_p)
    inner = symmetric(product(transposed(factor), cov_q, factor))
    root, _ = _roots(jnp.linalg.eigvalsh(inner))
    trace = jnp.trace(cov_p + cov_q, axis1=-2, axis2=-1)
    return trace - 2.0 * jnp.sum(root, axis=-1)


def _factor_alone(covariance):
    def spectral(covariance):
        values, vectors = jnp.linalg.eigh(covariance)
        return vectors * _roots(values)[0][..., None, :]

    lower = factored(covariance).factor
    return jax.lax.cond(
        jnp.all(jnp.isfinite(lower)), lambda _: lower, spectral, covariance
    )


def _maps(cov_p, cov_q):
    """The maps from p to q and from q to p, and the sum of the roots."""
    factor, inverse = _factor(cov_p)
    inner = symmetric(product(transposed(factor), cov_q, factor))
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
    mean_p, cov_p, mean_q, cov_q = _checked(mean_p, cov_p, mean_q, cov_q)
    shift = jnp.sum(jnp.square(mean_p - mean_q), axis=-1)
    if isinstance(cov_p, Diagonal) and isinstance(cov_q, Diagonal):
        sizes = jnp.abs(cov_p.scale) - jnp.abs(cov_q.scale)
        return shift + jnp.sum(jnp.square(sizes), axis=-1)
    bures = _bures(*_level(dense(cov_p), dense(cov_q)))
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
    return _maps(*_level(*wide))[0]


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
    mean_p, cov_p, mean_q, cov_q = _checked(mean_p, cov_p, mean_q, cov_q)
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


def kl_to_standard_normal(mean: jax.Array, scale: jax.Array) -> jax.Array:
    r"""KL divergence of a diagonal normal distribution from the standard one.

    .. math:: \tfrac12 \sum_i (\mu_i^2 + \sigma_i^2 - \log \sigma_i^2 - 1)

    Args:
      mean, scale: ``[..., D]``; a scale may be negative, as only its square counts.

    Returns:
      ``[..., D]``, one nonnegative term in nats a dimension.

    Numerics: a square of a scale below the smallest normal number counts as that, so
    value and gradient are finite at 0.
    """
    square = jnp.maximum(jnp.square(scale), jnp.finfo(scale.dtype).tiny)
    return 0.5 * (jnp.square(mean) + square - jnp.log(square) - 1.0)
