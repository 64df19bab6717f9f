"""Disentangled attention of DeBERTa: content and place each look at the other."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention.relative_shift import relative_distances, relative_shift
from kexue_jax.attention.scored import check_heads, scored_attention


def deberta_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    relative_key: jax.Array,
    relative_query: jax.Array,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Softmax attention with scores from content and place, in both directions.

    .. math:: s_{ij} = \frac{q_i^\top k_j + q_i^\top K^r_{\delta(i, j)}
              + k_j^\top Q^r_{\delta(j, i)}}{\sqrt{3 H}}, \quad
              \delta(i, j) = \mathrm{clip}(i - j + k,\, 0,\, 2 k - 1)

    The third term asks what a place wants of the content there, and from a key's view
    the distance has the other sign.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.
      relative_key: :math:`K^r`, ``[2 k, N, H]``, the shared table of positions after
        the projection of keys; row r is for the distance i - j = r - k.
      relative_query: :math:`Q^r`, ``[2 k, N, H]``, after the projection of queries.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(3 H)``, as there are
        three terms.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or the tables have an odd number of rows.

    Numerics: scores are float32. Beside them there are two arrays with S + T - 1
      columns, of T and of S rows.

    Source: He et al., https://arxiv.org/abs/2006.03654, as the paper has it; for
      released weights see `deberta_attention_as_released`.
      https://kexue.fm/archives/8130
    """
    return _attention(
        query, key, value, mask, is_causal, relative_key, relative_query, scale, 1
    )


def deberta_attention_as_released(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    relative_key: jax.Array,
    relative_query: jax.Array,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""`deberta_attention` with :math:`Q^r_{\delta(i, j)}` in the third term.

    The code that came with the paper looks up both terms with the same distance, and
    published weights were trained with it. Arguments, result and errors are those of
    `deberta_attention`.

    Source: https://github.com/microsoft/DeBERTa
    """
    return _attention(
        query, key, value, mask, is_causal, relative_key, relative_query, scale, -1
    )


def _attention(
    query, key, value, mask, is_causal, relative_key, relative_query, scale, sign
):
    check_heads(query, key, value)
    shape = (2 * (len(relative_key) // 2), *query.shape[-2:])
    if relative_key.shape != shape or relative_query.shape != shape:
        raise ValueError(
            "relative_key and relative_query must both be [2 k, N, H] with N, H = "
            f"{query.shape[-2:]}; got {relative_key.shape}, {relative_query.shape}"
        )
    wide, queries, keys = jnp.float32, query.shape[1], key.shape[1]
    content = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    rows = _rows(relative_key, relative_distances(queries, keys)).astype(query.dtype)
    to_place = jnp.einsum("btnh,lnh->bntl", query, rows, preferred_element_type=wide)
    # From here keys are the rows: distances are j - i, or i - j if sign is -1.
    distances = sign * relative_distances(keys, queries)
    rows = _rows(relative_query, distances).astype(key.dtype)
    from_place = jnp.einsum("bsnh,lnh->bnsl", key, rows, preferred_element_type=wide)
    scores = content + relative_shift(to_place)
    scores += jnp.swapaxes(relative_shift(from_place), -1, -2)
    scale = 1.0 / math.sqrt(3 * query.shape[-1]) if scale is None else scale
    return scored_attention(scores * scale, value, mask, is_causal=is_causal)


def _rows(table, distances):
    half = len(table) // 2
    return table[np.clip(distances + half, 0, 2 * half - 1)]
