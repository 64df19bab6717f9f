"""ALiBi: scores fall linearly with distance, each head with its own slope."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.position.relative import relative_positions


def alibi_slopes(heads: int) -> np.ndarray:
    r"""The slopes of `heads` heads: a geometric series, or two of them.

    .. math:: m_h = 2^{-8h/N}, \quad h = 1, \dots, N

    for N a power of two. Otherwise come the slopes of the next lower power P, and then
    every second one of 2 P heads, beginning with the first.

    Args:
      heads: N, positive.

    Returns:
      ``[N]`` float64, positive, not always sorted.

    Raises:
      ValueError: if `heads` is not positive.

    Source: Press et al., https://arxiv.org/abs/2108.12409

    >>> alibi_slopes(12).round(4).tolist()[7:]
    [0.0039, 0.7071, 0.3536, 0.1768, 0.0884]
    """
    if heads < 1:
        raise ValueError(f"heads must be positive, got {heads}")
    power = 2 ** (heads.bit_length() - 1)

    def series(count):
        return 2.0 ** (-8.0 * np.arange(1, count + 1) / count)

    return np.concatenate([series(power), series(2 * power)[::2][: heads - power]])


def alibi_bias(
    slopes: jax.Array | np.ndarray,
    query_positions: jax.Array,
    key_positions: jax.Array,
) -> jax.Array:
    r"""A penalty on distance, to be added to scores before the softmax.

    .. math:: -m_h\,|i - j|

    Being symmetric, without a causal mask it cannot tell left from right.

    Args:
      slopes: ``[N]``, m of each head, positive: `alibi_slopes`, or trained.
      query_positions: ``[T]`` or ``[B, T]``, i, in tokens.
      key_positions: ``[S]`` or ``[B, S]``, j, in tokens.

    Returns:
      ``[1 or B, N, T, S]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Source: Press et al., https://arxiv.org/abs/2108.12409, which has i >= j only.
    """
    if slopes.ndim != 1:
        raise ValueError(f"slopes must be [N], got {slopes.shape}")
    slopes = jnp.asarray(slopes, jnp.float32)[None, :, None, None]
    distance = jnp.abs(relative_positions(query_positions, key_positions))
    return -slopes * distance.astype(jnp.float32)[:, None]
