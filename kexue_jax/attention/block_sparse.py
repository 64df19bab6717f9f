"""Attention to the blocks of keys that a layout names, and to no others."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention import protocol
from kexue_jax.attention.tiles import attend, cut_mask, pad_axis


def _rounded(count: int) -> int:
    """Rounds up so that there are few sizes: at most 3 bits beside the first count."""
    step = max(1 << max(count.bit_length() - 3, 0), 1)
    return -(-count // step) * step


def _check_layout(layout, block, queries, keys):
    if not isinstance(layout, np.ndarray):
        raise ValueError(
            "layout is part of the program and not of its input: it must be a numpy "
            f"array, got {type(layout).__name__}"
        )
    if block < 1:
        raise ValueError(f"block must be positive, got {block}")
    want = (-(-queries // block), -(-keys // block))
    if layout.dtype != np.bool_ or layout.shape != want:
        raise ValueError(
            f"layout must be bool {want}, a row for each block of {block} queries and "
            f"a column for each block of keys; got {layout.dtype} {layout.shape}"
        )
    return layout


def block_sparse_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    layout: np.ndarray,
    block: int = 64,
    is_causal: bool = False,
) -> jax.Array:
    """Averages values by softmax over the blocks of keys that `layout` keeps.

    The same as `softmax_attention` under the mask that repeats each entry of `layout`
    `block` times in both directions, in time and memory that go by the number of
    blocks kept. Blocks of queries that see about as many blocks are done together, so
    that a few that see everything cost the others nothing. For the layout of Big Bird
    call `masks.block_sparse_mask` with a block of 1 and the number of blocks.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, K, H]``, where K divides N.
      value: ``[B, S, K, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key. One of
        size T S is itself quadratic; key masks ``[B, 1, 1, S]`` are not.
      layout: bool ``[ceil(T / block), ceil(S / block)]``, a numpy array: it is part of
        the program and not of its input.
      block: how many queries and keys are in a block; the last may be ragged.
      is_causal: whether query t sees only keys s <= t + S - T.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree or `layout` does not fit.

    Numerics: as `softmax_attention`.
    Source: https://kexue.fm/archives/6853; layouts as of Zaheer et al., Big Bird,
      https://arxiv.org/abs/2007.14062.
    """
    protocol.check_inputs(query, key, value)
    (batch, queries, heads, _), keys = query.shape, key.shape[1]
    protocol.check_mask(mask, (batch, heads, queries, keys))
    layout = _check_layout(layout, block, queries, keys)
    rows, columns = layout.shape
    if is_causal:
        last = np.minimum((np.arange(rows) + 1) * block, queries) - 1 + keys - queries
        layout = layout & (np.arange(columns)[None] * block <= last[:, None])
    query = pad_axis(query, 1, 0, rows * block - queries)
    key, value = (pad_axis(x, 1, 0, columns * block - keys) for x in (key, value))
    query, key, value = (
        x.reshape(batch, -1, block, *x.shape[2:]) for x in (query, key, value)
    )
    seen_by = layout.sum(axis=1)
    sizes = np.array([_rounded(int(count)) for count in seen_by])
    parts, order = [], []
    for size in sorted(set(sizes.tolist())):
        members = np.flatnonzero(sizes == size)
        order.append(members)
        if size == 0:
            shape = (batch, len(members), block, heads, value.shape[-1])
            parts.append(jnp.zeros(shape, value.dtype))
            continue
        # The blocks kept come first; those that fill up are hidden below.
        chosen = np.argsort(~layout[members], axis=1, kind="stable")[:, :size]
        size = chosen.shape[1]
        kept = np.arange(size)[None] < seen_by[members][:, None]
        inner = np.arange(block)
        at_query = members[:, None] * block + inner
        at_key = (chosen[..., None] * block + inner).reshape(len(members), -1)
        seen = np.repeat(kept, block, axis=1) & (at_key < keys)
        seen = seen[None, :, None, None]
        if is_causal:
            limit = at_query[:, :, None] + keys - queries
            seen = seen & (at_key[:, None] <= limit)[None, :, None]
        seen = jnp.asarray(seen)
        if mask is not None:
            clipped = jnp.asarray(np.minimum(at_query, queries - 1))
            seen = seen & cut_mask(mask, clipped, jnp.asarray(at_key), keys)
        near = [
            x[:, chosen].reshape(batch, len(members), size * block, *x.shape[3:])
            for x in (key, value)
        ]
        parts.append(attend(query[:, members], *near, seen))
    back = np.argsort(np.concatenate(order))
    output = jnp.concatenate(parts, axis=1)[:, back]
    return output.reshape(batch, rows * block, heads, -1)[:, :queries]
