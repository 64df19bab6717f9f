"""From one row per distance to one entry per key, and back, without a gather."""

import jax
import jax.numpy as jnp
import numpy as np


def relative_distances(queries: int, keys: int) -> np.ndarray:
    """Every distance i - j that occurs, from the greatest to the least.

    The last query stands at the last key: distances go from S - 1, of the last query
    and the first key, down to 1 - T.

    Args:
      queries: T, positive.
      keys: S, positive.

    Returns:
      ``[S + T - 1]`` int64, on the host.

    Raises:
      ValueError: if a number is not positive.

    >>> relative_distances(2, 3).tolist()
    [2, 1, 0, -1]
    """
    if queries < 1 or keys < 1:
        raise ValueError(f"queries and keys must be positive, got {queries}, {keys}")
    return np.arange(keys - 1, -queries, -1)


def relative_shift(by_distance: jax.Array) -> jax.Array:
    r"""Entries by key from entries by distance: moves each row to its own place.

    .. math:: y_{ts} = x_{t,\, s - t + T - 1}

    Args:
      by_distance: ``[..., T, S + T - 1]``, columns in the order of
        `relative_distances`.

    Returns:
      ``[..., T, S]`` in the dtype of the input: column s holds the entry of distance
      t + S - T - s.

    Raises:
      ValueError: if there are fewer columns than rows.

    Numerics: only reshapes and slices, so the gradient is exact and as cheap.
    Source: Dai et al., https://arxiv.org/abs/1901.02860, for any number of keys.
    """
    *lead, rows, columns = by_distance.shape
    if columns < rows:
        raise ValueError(
            f"by_distance must be [..., T, S + T - 1], got {by_distance.shape}"
        )
    if rows == 1:
        return by_distance
    # In rows of one entry less, entry t moves to the left by t.
    flat = by_distance.reshape(*lead, rows * columns)[..., rows - 1 : -1]
    shifted = flat.reshape(*lead, rows, columns - 1)
    return shifted[..., : columns - rows + 1]


def relative_unshift(by_key: jax.Array) -> jax.Array:
    """Entries by distance from entries by key; zero where no key has the distance.

    It is the transpose of `relative_shift`, and its inverse on what is not lost there.

    Args:
      by_key: ``[..., T, S]``.

    Returns:
      ``[..., T, S + T - 1]`` in the dtype of the input, columns in the order of
      `relative_distances`.
    """
    *lead, rows, keys = by_key.shape
    if rows == 1:
        return by_key
    none = [(0, 0)] * len(lead)
    wide = jnp.pad(by_key, [*none, (0, 0), (0, rows - 2)])
    flat = wide.reshape(*lead, rows * (keys + rows - 2))
    return jnp.pad(flat, [*none, (rows - 1, 1)]).reshape(*lead, rows, keys + rows - 1)
