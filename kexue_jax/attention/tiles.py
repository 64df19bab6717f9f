"""What sparse attention is made of: tiles of queries that meet their own keys."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def pad_axis(array: jax.Array, axis: int, before: int, after: int = 0) -> jax.Array:
    """Adds zeros (or False) at both ends of an axis; one of length 1 is left alone."""
    axis %= array.ndim
    widths = [(before, after) if i == axis else (0, 0) for i in range(array.ndim)]
    return jnp.pad(array, widths)


def cut_mask(
    mask: jax.Array, queries: jax.Array, keys: jax.Array, length: int
) -> jax.Array:
    """Returns what a mask says of each tile.

    Args:
      mask: bool, broadcastable to ``[B, N, T, S]``.
      queries: ``[C, t]``, which queries a tile has.
      keys: ``[C, s]``, which keys; those out of range are read at the end.
      length: S.

    Returns:
      bool, broadcastable to ``[B, C, N, t, s]``.
    """
    by_row = mask.shape[2] > 1
    mask = jnp.take(mask, queries, axis=2) if by_row else mask[:, :, None]
    if mask.shape[-1] > 1:
        places = jnp.clip(keys, 0, length - 1)[None, None, :, None, :]
        shape = (*mask.shape[:2], places.shape[2], mask.shape[3], mask.shape[4])
        mask = jnp.take_along_axis(jnp.broadcast_to(mask, shape), places, axis=-1)
    return mask.transpose(0, 2, 1, 3, 4)


def attend(
    query: jax.Array, key: jax.Array, value: jax.Array, seen: jax.Array
) -> jax.Array:
    """Softmax attention within each tile.

    Args:
      query: ``[B, C, t, N, H]``.
      key: ``[B, C, s, K, H]``, where K divides N.
      value: ``[B, C, s, K, V]``.
      seen: bool, broadcastable to ``[B, C, N, t, s]``.

    Returns:
      ``[B, C, t, N, V]`` in the dtype of `value`; zeros for a query that sees no key.
    """
    batch, count, tile, heads, size = query.shape
    shared = key.shape[3]
    query = query.reshape(batch, count, tile, shared, heads // shared, size)
    wide = jnp.float32
    scores = jnp.einsum("bctkgh,bcskh->bckgts", query, key, preferred_element_type=wide)
    shape = scores.shape
    scores = scores.reshape(batch, count, heads, *shape[-2:]) / size**0.5
    weights = numerics.masked_softmax(scores, seen).astype(value.dtype).reshape(shape)
    output = jnp.einsum(
        "bckgts,bcskv->bctkgv", weights, value, preferred_element_type=wide
    )
    return output.reshape(batch, count, tile, heads, -1).astype(value.dtype)
