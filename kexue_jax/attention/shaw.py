"""Relative positions of Shaw et al.: vectors per distance, on keys and on values."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.relative_shift import (
    relative_distances,
    relative_shift,
    relative_unshift,
)
from kexue_jax.attention.scored import scored_weights


def shaw_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    key_table: jax.Array,
    value_table: jax.Array | None = None,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Softmax attention in which keys and values know how far they are.

    .. math:: s_{ij} = \frac{q_i^\top (k_j + A_{c(i - j)})}{\sqrt{H}}, \quad
              o_i = \sum_j \mathrm{softmax}(s)_{ij}\, (v_j + C_{c(i - j)})

    c clips to [-k, k]. The values' term lets even equal inputs tell positions apart,
    which no bias of the scores can.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.
      key_table: A, ``[2 k + 1, H]``, shared by the heads; row r is for the distance
        i - j = r - k, so that row 0 is for keys far after the query.
      value_table: C, ``[2 k + 1, V]``, in the same order; None leaves the term out.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or a table has an even number of rows.

    Numerics: scores, weights and sums are float32. Beside the weights there is one
      array of ``[B, N, T, S + T - 1]`` for each table, and none of ``[T, S, H]``.

    Source: Shaw et al., https://arxiv.org/abs/1803.02155, whose rows go by j - i;
      https://kexue.fm/archives/8130
    """
    check_own_heads(query, key, value)
    _check_table("key_table", key_table, query.shape[-1])
    if value_table is not None:
        _check_table("value_table", value_table, value.shape[-1])
    wide, queries, keys = jnp.float32, query.shape[1], key.shape[1]
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    rows = _rows(key_table, queries, keys, query)
    near = jnp.einsum("btnh,lnh->bntl", query, rows, preferred_element_type=wide)
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (scores + relative_shift(near)) * scale
    weights = scored_weights(scores, mask, is_causal=is_causal).astype(value.dtype)
    output = jnp.einsum("bnts,bsnv->btnv", weights, value, preferred_element_type=wide)
    if value_table is not None:
        rows, spread = (
            _rows(value_table, queries, keys, value),
            relative_unshift(weights),
        )
        near = jnp.einsum("bntl,lnv->btnv", spread, rows, preferred_element_type=wide)
        output += near
    return output.astype(value.dtype)


def _check_table(name, table, size):
    if table.ndim != 2 or table.shape[0] % 2 == 0 or table.shape[1] != size:
        raise ValueError(f"{name} must be [2 k + 1, {size}], got {table.shape}")


def _rows(table, queries, keys, like):
    """The row of every distance that occurs, from the greatest to the least.

    Each head gets them all: without heads as an axis of both sides XLA's CPU refuses to
    multiply some bfloat16 arrays into float32.
    """
    clip = len(table) // 2
    place = np.clip(relative_distances(queries, keys), -clip, clip) + clip
    rows = table.astype(like.dtype)[place][:, None]
    return jnp.broadcast_to(rows, (len(place), like.shape[2], table.shape[1]))
