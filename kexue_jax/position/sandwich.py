"""Sandwich: the products of sinusoidal positions as a bias."""

import jax
import jax.numpy as jnp

from kexue_jax.position.angles import angles
from kexue_jax.position.relative import relative_positions


def sandwich_bias(
    strengths: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
    *,
    size: int = 128,
    base: float = 10000.0,
) -> jax.Array:
    r"""The inner product of two sinusoidal positions, to be added before the softmax.

    .. math:: \lambda_h \langle p_i, p_j \rangle
              = \lambda_h \sum_{l < D/2} \cos\big((i - j)\,\theta_l\big)

    It falls from :math:`\lambda_h D / 2` about as the logarithm of distance.

    Args:
      strengths: ``[N]``, :math:`\lambda` of each head, in whatever unit scores have.
      query_positions: ``[T]`` or ``[B, T]``, i, in tokens.
      key_positions: ``[S]`` or ``[B, S]``, j, in tokens.
      size: D, even, of the sinusoidal positions.
      base: of their frequencies, > 0.

    Returns:
      ``[1 or B, N, T, S]`` float32.

    Raises:
      ValueError: if the shapes disagree, or `size` is odd.

    Numerics: the sum runs over D / 2 arrays of ``[T, S]``, one after another.
    Source: Chi et al., https://arxiv.org/abs/2212.10356, without its choice of
      strengths.
    """
    if strengths.ndim != 1:
        raise ValueError(f"strengths must be [N], got {strengths.shape}")
    distance = relative_positions(query_positions, key_positions).astype(jnp.float32)
    frequencies = jnp.asarray(angles(jnp.ones(1), size, base=base))[0]

    def add(total, frequency):
        return total + jnp.cos(distance * frequency), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(distance), frequencies)
    return strengths.astype(jnp.float32)[None, :, None, None] * total[:, None]
