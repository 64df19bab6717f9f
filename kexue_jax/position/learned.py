"""Learned positions: rows of a table, and what reaches beyond its end."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def learned(table: jax.Array, positions: jax.Array | np.ndarray) -> jax.Array:
    """Rows of a trained table, to be added to features.

    Args:
      table: ``[L, D]``.
      positions: ``[T]`` or ``[B, T]``, integers from 0 to L - 1. Those of rank 1 are
        taken to be distinct, so there are at most L.

    Returns:
      ``[T, D]`` or ``[B, T, D]`` in the dtype of `table`. A position outside of the
      table that is known only when the program runs gives nan, no other row.

    Raises:
      ValueError: if the ranks or dtypes are others, if there are more positions than
        rows, or if positions whose values are known lie outside of the table.

    Source: https://kexue.fm/archives/8130
    """
    if table.ndim != 2 or positions.ndim not in (1, 2):
        raise ValueError(
            "table and positions must be [L, D] and [T] or [B, T]; "
            f"got {table.shape}, {positions.shape}"
        )
    length = table.shape[0]
    if not jnp.issubdtype(positions.dtype, jnp.integer):
        raise ValueError(f"positions must be integers, got {positions.dtype}")
    if positions.ndim == 1 and positions.shape[0] > length:
        raise ValueError(
            f"positions must be at most {length}, the rows of table; "
            f"got {positions.shape[0]}: see hierarchical_table"
        )
    if not isinstance(positions, Tracer) and positions.size:
        least, greatest = int(np.min(positions)), int(np.max(positions))
        if least < 0 or greatest >= length:
            raise ValueError(
                f"positions must be from 0 to {length - 1}, the last row of table; "
                f"got {least} to {greatest}"
            )
    rows = jnp.asarray(positions)
    rows = jnp.where(rows < 0, jnp.asarray(length, rows.dtype), rows)
    return jnp.take(table, rows, axis=0, mode="fill", fill_value=jnp.nan)


def multiplied(features: jax.Array, encoding: jax.Array) -> jax.Array:
    r"""Features times one plus their positions: :math:`x_k (1 + p_k)`.

    Args:
      features: ``[B, T, D]``.
      encoding: ``[T, D]`` or ``[B, T, D]``, p; zeros change nothing, so that a table
        trained from zeros begins as no position at all.

    Returns:
      ``[B, T, D]`` in the dtype of `features`.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/8130, whose factor is p itself.
    """
    if encoding.shape not in (features.shape, features.shape[1:]):
        raise ValueError(
            "features and encoding must be [B, T, D] and [T, D] or [B, T, D]; "
            f"got {features.shape}, {encoding.shape}"
        )
    encoding = jnp.expand_dims(encoding, range(features.ndim - encoding.ndim))
    return features * (1.0 + encoding).astype(features.dtype)


def hierarchical_table(
    table: jax.Array, *, length: int, alpha: float = 0.4
) -> jax.Array:
    r"""Extends a trained table of n positions to at most n squared.

    .. math:: q_{an + b} = \alpha u_a + (1 - \alpha) u_b, \quad
              u = \frac{p - \alpha p_0}{1 - \alpha}

    A position is written with two digits in base n, each has its vector, and these are
    such that the first n positions stay as they were. With :math:`\alpha < 1/2` the
    low digit, of which there are more, weighs more.

    Args:
      table: p, ``[n, D]``.
      length: positions wanted, from 1 to n squared.
      alpha: :math:`\alpha`, between 0 and 1 and not 1/2, where the positions (a, b) and
        (b, a) would be the same.

    Returns:
      ``[length, D]`` in the dtype of `table`; the first n rows are its own, bit by bit.

    Raises:
      ValueError: if a number is out of its range, or `table` is no matrix.

    Numerics: float32 inside whatever the dtype.
    Source: https://kexue.fm/archives/7947

    >>> hierarchical_table(jnp.array([[0.0], [3.0]]), length=4, alpha=0.25).tolist()
    [[0.0], [3.0], [1.0], [4.0]]
    """
    if table.ndim != 2:
        raise ValueError(f"table must be [n, D], got {table.shape}")
    size = table.shape[0]
    if not 1 <= length <= size**2:
        raise ValueError(f"length must be from 1 to {size**2}, got {length}")
    if not 0.0 < alpha < 1.0 or alpha == 0.5:
        raise ValueError(f"alpha must be between 0 and 1 and not 0.5, got {alpha}")
    wide = table.astype(jnp.float32)
    digit = (wide - alpha * wide[:1]) / (1.0 - alpha)
    high, low = np.divmod(np.arange(size, max(length, size)), size)
    beyond = alpha * digit[high] + (1.0 - alpha) * digit[low]
    return jnp.concatenate([table[:length], beyond.astype(table.dtype)])
