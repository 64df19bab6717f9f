"""Sparse attention that computes only what its mask keeps."""

import jax
import jax.numpy as jnp

from kexue_jax.attention import protocol
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.tiles import attend, cut_mask, pad_axis


def _blocks(array, count, block):
    return array.reshape(array.shape[0], count, block, *array.shape[2:])


def _with_neighbours(blocks, is_causal):
    """Puts before (and after) each block of axis 1 the one before (and after) it."""
    if blocks.shape[1] == 1:
        return blocks
    before = pad_axis(blocks[:, :-1], 1, 1)
    parts = [before, blocks]
    if not is_causal:
        parts.append(pad_axis(blocks[:, 1:], 1, 0, 1))
    return jnp.concatenate(parts, axis=2)


def local_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    radius: int = 128,
    block: int | None = None,
) -> jax.Array:
    r"""Averages the values of near keys alone, in time and memory linear in the length.

    .. math:: o_t = \frac{\sum_{|t - s| \le k} e^{x_{ts}} v_s}
                         {\sum_{|t - s| \le k} e^{x_{ts}}}, \quad
              x = \frac{Q K^\top}{\sqrt{H}}

    The same as `softmax_attention` under `masks.local_mask`; with `is_causal`, under
    `masks.window_mask` of a window k + 1. The sequence is cut into blocks, and each
    block of queries meets its own block of keys and its neighbours.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, K, H]``, where K divides N.
      value: ``[B, S, K, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key. One of
        size T S is itself quadratic; key masks ``[B, 1, 1, S]`` are not.
      is_causal: whether query t sees only keys s <= t + S - T.
      radius: k >= 0, how far a query sees.
      block: queries in a block, at least `radius`; default ``max(radius, 64)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or a number is out of range.

    Numerics: as `softmax_attention`.
    Source: https://kexue.fm/archives/6853, with nothing computed that is hidden but for
      the ends of the blocks.
    """
    protocol.check_inputs(query, key, value)
    (batch, queries, heads, _), keys = query.shape, key.shape[1]
    protocol.check_mask(mask, (batch, heads, queries, keys))
    if radius < 0 or (block is not None and block < max(radius, 1)):
        raise ValueError(
            "radius must not be negative and block not smaller than radius, got "
            f"{radius} and {block}"
        )
    # Places are counted from the first that matters; both sequences end at `length`.
    length = max(queries, min(keys, queries + radius), 1)
    skipped = max(keys - length, 0)
    block = min(max(radius, 64) if block is None else block, length)
    count = -(-length // block)
    query = pad_axis(query, 1, length - queries, count * block - length)
    key, value = (
        pad_axis(x[:, skipped:], 1, length - keys + skipped, count * block - length)
        for x in (key, value)
    )
    own = jnp.arange(count * block).reshape(count, block)
    near = _with_neighbours(own[None] + 1, is_causal)[0] - 1  # -1 beyond both ends
    distance = own[:, :, None] - near[:, None, :]
    real = (near >= length - keys + skipped) & (near < length)
    seen = real[:, None, :] & (jnp.abs(distance) <= radius)
    if is_causal:
        seen &= distance >= 0
    seen = seen[None, :, None]
    if mask is not None:
        rows = jnp.clip(own - (length - queries), 0, queries - 1)
        seen &= cut_mask(mask, rows, near - length + keys, keys)
    query = _blocks(query, count, block)
    key, value = (
        _with_neighbours(_blocks(x, count, block), is_causal) for x in (key, value)
    )
    output = attend(query, key, value, seen)
    output = output.reshape(batch, count * block, heads, -1)
    return output[:, length - queries : length]


def atrous_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    rate: int = 8,
) -> jax.Array:
    r"""Averages the values of keys whose distance is a multiple of `rate`.

    The same as `softmax_attention` under `masks.atrous_mask`. The sequence is dealt out
    to `rate` sequences that know nothing of each other, so that time and memory are
    ``T S / rate``.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, K, H]``, where K divides N.
      value: ``[B, S, K, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees only keys s <= t + S - T.
      rate: k >= 1; with 1 it is `softmax_attention`.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or `rate` is below 1.

    Numerics: as `softmax_attention`.
    Source: https://kexue.fm/archives/6853
    """
    protocol.check_inputs(query, key, value)
    (batch, queries, heads, _), keys = query.shape, key.shape[1]
    protocol.check_mask(mask, (batch, heads, queries, keys))
    if rate < 1:
        raise ValueError(f"rate must be at least 1, got {rate}")
    size = -(-max(queries, keys) // rate)
    lead, key_lead = size * rate - queries, size * rate - keys

    def deal(array, before):
        array = pad_axis(array, 1, before)
        array = array.reshape(batch, size, rate, *array.shape[2:])
        return array.swapaxes(1, 2).reshape(batch * rate, size, *array.shape[3:])

    real = (jnp.arange(size * rate) >= key_lead)[None, None, None, :]
    if mask is None:
        mask = real
    elif mask.shape[3] > 1:
        mask = pad_axis(mask, 3, key_lead)
    else:
        mask = mask & real
    if mask.shape[2] > 1:
        mask = pad_axis(mask, 2, lead).reshape(*mask.shape[:2], size, rate, size, rate)
        mask = jnp.diagonal(mask, axis1=3, axis2=5)
    else:
        mask = mask.reshape(*mask.shape[:3], size, rate)
    mask = jnp.moveaxis(mask, -1, 1)  # [B, rate, N, T, S]
    mask = jnp.broadcast_to(mask, (batch, *mask.shape[1:]))
    mask = mask.reshape(batch * rate, *mask.shape[2:])
    output = softmax_attention(
        deal(query, lead),
        deal(key, key_lead),
        deal(value, key_lead),
        mask,
        is_causal=is_causal,
    )
    output = output.reshape(batch, rate, size, *output.shape[2:]).swapaxes(1, 2)
    return output.reshape(batch, size * rate, *output.shape[3:])[:, lead:]
