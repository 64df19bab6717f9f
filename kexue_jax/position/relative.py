"""Relative positions: query minus key, for every pair."""

import jax
import jax.numpy as jnp


def relative_positions(
    query_positions: jax.Array, key_positions: jax.Array
) -> jax.Array:
    """Returns i - j, the position of each query minus that of each key.

    It is positive for keys before the query. All biases of this room are functions of
    it, so that a few new queries beside many cached keys need nothing else.

    Args:
      query_positions: ``[T]`` or ``[B, T]``, i, in tokens.
      key_positions: ``[S]`` or ``[B, S]``, j, in tokens. With padding at the left,
        count the tokens that are there; do not take the index.

    Returns:
      ``[1 or B, T, S]`` in the dtype of the positions.

    Raises:
      ValueError: if a shape has another rank, or the two batches differ.

    >>> relative_positions(jnp.array([2]), jnp.arange(3)).tolist()
    [[[2, 1, 0]]]
    """
    query, key = jnp.asarray(query_positions), jnp.asarray(key_positions)
    ranks = {query.ndim, key.ndim} <= {1, 2}
    if not ranks or (query.ndim == key.ndim == 2 and query.shape[0] != key.shape[0]):
        raise ValueError(
            "query_positions and key_positions must be [T] or [B, T] and [S] or "
            f"[B, S]; got {query.shape}, {key.shape}"
        )
    query, key = (x if x.ndim == 2 else x[None] for x in (query, key))
    return query[:, :, None] - key[:, None, :]
