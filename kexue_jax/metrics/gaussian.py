"""Closed-form distances between multivariate normal distributions."""

import jax
import jax.numpy as jnp


def _check(mean_p, cov_p, mean_q, cov_q) -> None:
    size = mean_p.shape[-1:]
    shapes = [mean_p.shape, cov_p.shape, mean_q.shape, cov_q.shape]
    if (
        mean_q.shape[-1:] != size
        or cov_p.shape[-2:] != 2 * size
        or cov_q.shape[-2:] != 2 * size
    ):
        raise ValueError(
            "mean_p, cov_p, mean_q, cov_q must be [..., D], [..., D, D], [..., D], "
            f"[..., D, D]; got {', '.join(map(str, shapes))}"
        )


def wasserstein2_squared(
    mean_p: jax.Array, cov_p: jax.Array, mean_q: jax.Array, cov_q: jax.Array
) -> jax.Array:
    r"""Squared 2-Wasserstein distance between two normal distributions.

    .. math:: \|\mu_p - \mu_q\|^2 + \operatorname{tr}\big(\Sigma_p + \Sigma_q
              - 2(\Sigma_p^{1/2} \Sigma_q \Sigma_p^{1/2})^{1/2}\big)

    With :math:`\Sigma_p = L L^\top` the inner matrix has the eigenvalues of
    :math:`L^\top \Sigma_q L`, so no matrix root is ever differentiated.

    Args:
      mean_p, mean_q: ``[..., D]``.
      cov_p, cov_q: ``[..., D, D]``, symmetric; p definite, q at least semidefinite.

    Returns:
      ``[...]``, never below 0, in squared units of the samples.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: first derivatives are finite at equal eigenvalues and at singular `cov_q`.
    Source: https://kexue.fm/archives/8512
    """
    _check(mean_p, cov_p, mean_q, cov_q)
    chol, exact = jnp.linalg.cholesky(cov_p), jax.lax.Precision.HIGHEST
    inner = jnp.einsum("...ji,...jk,...kl->...il", chol, cov_q, chol, precision=exact)
    spectrum = jnp.linalg.eigvalsh(inner)
    seen = spectrum > jnp.finfo(spectrum.dtype).eps * spectrum[..., -1:]
    roots = jnp.where(seen, jnp.sqrt(jnp.where(seen, spectrum, 1.0)), 0.0)
    shift = jnp.sum(jnp.square(mean_p - mean_q), axis=-1)
    trace = jnp.trace(cov_p + cov_q, axis1=-2, axis2=-1)
    return jnp.maximum(shift + trace - 2.0 * jnp.sum(roots, axis=-1), 0.0)


def optimal_map(cov_p: jax.Array, cov_q: jax.Array) -> jax.Array:
    r"""The matrix A of the map :math:`x \mapsto \mu_q + A (x - \mu_p)` from p to q.

    .. math:: A = L^{-\top} (L^\top \Sigma_q L)^{1/2} L^{-1}, \quad \Sigma_p = L L^\top

    Of all maps with :math:`A \Sigma_p A^\top = \Sigma_q` it is the symmetric positive
    one, and moves the mass at the least squared cost, `wasserstein2_squared`.

    Args:
      cov_p, cov_q: ``[..., D, D]``, symmetric; p definite, q at least semidefinite.

    Returns:
      ``[..., D, D]``, symmetric.
    """
    chol, exact = jnp.linalg.cholesky(cov_p), jax.lax.Precision.HIGHEST
    inner = jnp.einsum("...ji,...jk,...kl->...il", chol, cov_q, chol, precision=exact)
    values, vectors = jnp.linalg.eigh(inner)
    roots = jnp.sqrt(jnp.maximum(values, 0.0))
    root = jnp.einsum(
        "...ij,...j,...kj->...ik", vectors, roots, vectors, precision=exact
    )
    upper = jnp.swapaxes(chol, -1, -2)
    solve = jax.scipy.linalg.solve_triangular
    if cov_p.ndim > 2:
        flat = jax.vmap(optimal_map)
        shape = jnp.broadcast_shapes(cov_p.shape, cov_q.shape)
        pairs = [
            jnp.broadcast_to(x, shape).reshape(-1, *shape[-2:]) for x in (cov_p, cov_q)
        ]
        return flat(*pairs).reshape(shape)
    half = solve(upper, root, lower=False)
    return solve(upper, half.T, lower=False).T


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
