"""Positions of what is there, and query minus key for every pair of them."""

import jax
import jax.numpy as jnp


def masked_positions(mask: jax.Array) -> jax.Array:
    """Counts the tokens that are there, wherever the padding is.

    With padding at the left the first token of every example then has position 0, as
    it had in training.

    Args:
      mask: ``[B, S]`` bool, True for a token.

    Returns:
      ``[B, S]`` int32, from 0; padding has the position of the token before it, or 0.

    Raises:
      ValueError: if `mask` is not bool or has another rank.

    >>> masked_positions(jnp.array([[False, True, True]])).tolist()
    [[0, 0, 1]]
    """
    if mask.ndim != 2 or mask.dtype != jnp.bool_:
        raise ValueError(f"mask must be bool [B, S], got {mask.dtype} {mask.shape}")
    return jnp.maximum(jnp.cumsum(mask, axis=1, dtype=jnp.int32) - 1, 0)


def relative_positions(
    query_positions: jax.Array, key_positions: jax.Array
) -> jax.Array:
    """Returns i - j, the position of each query minus that of each key.

    It is positive for keys before the query. All biases of this room are functions of
    it, so that a few new queries beside many cached keys need nothing else.

    Args:
      query_positions: ``[T]`` or ``[B, T]``, i, in tokens.
      key_positions: ``[S]`` or ``[B, S]``, j, in tokens. With padding at the left
        they are `masked_positions`, not the index.

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
