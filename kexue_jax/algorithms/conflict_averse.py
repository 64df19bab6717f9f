"""The best direction for the worst-off within a ball around the mean."""

import jax
import jax.numpy as jnp

from kexue_jax.algorithms.min_norm import min_norm_point


def conflict_averse_weights(gram: jax.Array, *, radius: float = 0.5) -> jax.Array:
    r"""Weights of the d that solves

    .. math:: \max_d \min_i \langle g_i, d\rangle
              \quad\text{with}\quad \|d - g_0\| \le c \|g_0\|,

    :math:`g_0` being the mean of the g_i. It is :math:`d = g_0 + g_w / s`, where the
    mean :math:`g_w` is such that :math:`g_w + s g_0` is shortest, and s is found from
    :math:`\|g_w\| = s c \|g_0\|`: a search over one number, around `min_norm_point`.

    Args:
      gram: ``[K, K]``, the inner products of the g_i.
      radius: c, not negative; 0 gives the mean, a large one the shortest direction.

    Returns:
      ``[K]``, the weights of d.

    Raises:
      ValueError: if `radius` is negative, or `gram` not square.

    Numerics: s stays above the cube root of eps, below which :math:`g_w` cannot be told
    from 0; d then lies inside the ball.
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not gram.size:
        raise ValueError(f"gram must be [K, K] with K > 0, got {gram.shape}")
    count, dtype = len(gram), gram.dtype
    mean = jnp.full(count, 1.0 / count, dtype)
    if radius == 0:
        return mean
    with_mean = jnp.mean(gram, axis=1)  # <g_i, g_0>
    mean_square = jnp.maximum(jnp.mean(with_mean), 0.0)

    def shortest(s):
        shifted = gram + s * (with_mean[:, None] + with_mean[None, :])
        weights = min_norm_point(shifted + jnp.square(s) * mean_square).weights
        norm = jnp.sqrt(jnp.maximum(jnp.einsum("i,ij,j->", weights, gram, weights), 0))
        return weights, norm - s * radius * jnp.sqrt(mean_square)

    least = jnp.asarray(jnp.cbrt(jnp.finfo(dtype).eps), dtype)
    longest = jnp.sqrt(jnp.max(jnp.diagonal(gram)))
    reach = radius * jnp.sqrt(mean_square)
    most = longest / jnp.where(reach > least * longest, reach, 1.0)
    most = jnp.maximum(jnp.where(reach > least * longest, most, 1.0 / least), least)

    def unfinished(carry):
        low, high, *_, turn = carry
        return (high > low * (1 + 8 * jnp.finfo(dtype).eps)) & (turn < 60)

    def halve(carry):  # of the logarithm; above the root the excess is negative
        low, high, turn = carry
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        above = shortest(middle)[1] <= 0
        return (
            jnp.where(above, low, middle),
            jnp.where(above, middle, high),
            turn + 1,
        )

    _, s, _ = jax.lax.while_loop(unfinished, halve, (least, most, 0))
    return mean + shortest(s)[0] / s
