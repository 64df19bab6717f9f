"""Closed-form divergences between normal distributions.

A covariance is an array ``[..., D, D]`` or one of the kinds of
`kexue_jax.metrics.covariance`: a Cholesky factor, deviations, or a few factors and a
diagonal. Distances are batched over leading axes, which broadcast.
"""

import jax
import jax.numpy as jnp

from kexue_jax.metrics.covariance import (
    Cholesky,
    Covariance,
    Diagonal,
    alike,
    checked,
    combined,
    dense,
    identity,
    level,
    log_determinant,
    product,
    quadratic,
    solved,
    symmetric,
    trace_of_ratio,
    transposed,
)


def _is_finite(covariance):
    return jnp.all(jnp.isfinite(covariance), axis=(-2, -1))


def _factors(stacked):
    """Lower factors of ``[K, ..., D, D]``, identities where there are none; and where.

    All are made by one call: of several that wait for each other's threads XLA hangs
    on machines of few cores.
    """
    still = jax.lax.stop_gradient(stacked)
    lower = jnp.linalg.cholesky(still, symmetrize_input=False)
    good = _is_finite(lower) | ~_is_finite(still)
    return jnp.where(good[..., None, None], lower, identity(still[..., 0])), good


def _definite(*covariances):
    """Covariances that can be factored, arrays as factors; where all are as given."""
    found, good = list(covariances), jnp.asarray(True)
    for at, covariance in enumerate(covariances):
        if isinstance(covariance, Diagonal):
            some = jnp.all(covariance.scale != 0.0, axis=-1)
            found[at] = Diagonal(jnp.where(some[..., None], covariance.scale, 1.0))
            good = good & some
    places = [i for i, each in enumerate(found) if isinstance(each, jax.Array)]
    if places:
        stacked = jnp.stack(level(*(dense(found[i]) for i in places)))
        _, some = _factors(stacked)
        even = identity(stacked[..., 0])
        safe = jnp.where(some[..., None, None], stacked, even)
        factors = jnp.linalg.cholesky(safe, symmetrize_input=False)
        for i, factor in zip(places, factors, strict=True):
            found[i] = Cholesky(factor)
        good = good & jnp.all(some, axis=0)
    return found, good


@jax.custom_jvp
def _kl(mean_p, cov_p, mean_q, cov_q):
    """KL of dense covariances."""
    factors, good = _factors(jnp.stack(level(cov_p, cov_q)))
    seen = jnp.concatenate(level((mean_p - mean_q)[..., None], factors[0]), axis=-1)
    moved = jnp.sum(jnp.square(solved(factors[1], seen)), axis=(-2, -1))
    return _kl_of(factors, moved, jnp.all(good, axis=0))


def _kl_of(factors, moved, good):
    own, other = log_determinant(Cholesky(factors))
    size = factors.shape[-1]
    return jnp.where(good, 0.5 * (moved - own + other - size), jnp.inf)


@_kl.defjvp
def _kl_jvp(primals, tangents):
    mean_p, cov_p, mean_q, cov_q = primals
    factors, good = _factors(jnp.stack(level(cov_p, cov_q)))
    halves = solved(factors, identity(factors[..., 0]))  # by one call, as there
    inverse_p, inverse_q = product(transposed(halves), halves)
    shift = mean_p - mean_q
    # The second moments of p about the mean of q, in units of the covariance of q.
    moved = product(inverse_q, cov_p + shift[..., :, None] * shift[..., None, :])
    by_mean = jnp.sum(inverse_q * shift[..., None, :], axis=-1)
    by_q = inverse_q - product(moved, inverse_q)
    mean_p, cov_p, mean_q, cov_q = tangents
    change = (
        jnp.sum(by_mean * (mean_p - mean_q), axis=-1)
        + 0.5 * jnp.sum((inverse_q - inverse_p) * cov_p, axis=(-2, -1))
        + 0.5 * jnp.sum(by_q * cov_q, axis=(-2, -1))
    )
    good = jnp.all(good, axis=0)
    found = _kl_of(factors, jnp.trace(moved, axis1=-2, axis2=-1), good)
    return found, jnp.where(good, change, 0.0)


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
    mean_p, cov_p, mean_q, cov_q = checked(mean_p, cov_p, mean_q, cov_q)
    if isinstance(cov_p, jax.Array) and isinstance(cov_q, jax.Array):
        found = _kl(mean_p, symmetric(cov_p), mean_q, symmetric(cov_q))
        return jnp.maximum(found, 0.0)
    (cov_p, cov_q), good = _definite(cov_p, cov_q)
    cov_p, cov_q = alike(cov_p, cov_q)
    ratio = log_determinant(cov_p) - log_determinant(cov_q)
    moved = quadratic(cov_q, mean_p - mean_q) + trace_of_ratio(cov_p, cov_q)
    found = 0.5 * (moved - ratio - mean_p.shape[-1])
    return jnp.where(good, jnp.maximum(found, 0.0), jnp.inf)


def gaussian_jeffreys(
    mean_p: jax.Array, cov_p: Covariance, mean_q: jax.Array, cov_q: Covariance
) -> jax.Array:
    """KL(p || q) + KL(q || p); see `gaussian_kl`, whose arguments it has."""
    mean_p, cov_p, mean_q, cov_q = checked(mean_p, cov_p, mean_q, cov_q)
    if not (isinstance(cov_p, jax.Array) and isinstance(cov_q, jax.Array)):
        there = gaussian_kl(mean_p, cov_p, mean_q, cov_q)
        return there + gaussian_kl(mean_q, cov_q, mean_p, cov_p)
    matrices = (mean_p[..., None], cov_p, mean_q[..., None], cov_q)
    mean_p, cov_p, mean_q, cov_q = level(*matrices)
    means = jnp.stack([mean_p, mean_q])[..., 0]
    both = jnp.stack([cov_p, cov_q])  # by one call, as in `_factors`
    return jnp.sum(gaussian_kl(means, both, means[::-1], both[::-1]), axis=0)


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
    mean_p, cov_p, mean_q, cov_q = checked(mean_p, cov_p, mean_q, cov_q)
    between = combined(cov_p, cov_q, 1.0 - order, order)
    (cov_p, cov_q, between), good = _definite(cov_p, cov_q, between)
    own = (1.0 - order) * log_determinant(cov_p) + order * log_determinant(cov_q)
    apart = 0.5 * order * quadratic(between, mean_p - mean_q)
    found = apart - 0.5 * (log_determinant(between) - own) / (order - 1.0)
    return jnp.where(good, jnp.maximum(found, 0.0), jnp.inf)


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
