"""Disentangled attention of DeBERTa: content and place each look at the other."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.relative_shift import relative_distances, relative_shift
from kexue_jax.attention.scored import scored_attention


def deberta_log_buckets(
    distances: np.ndarray, *, buckets: int = 256, max_distance: int = 512
) -> np.ndarray:
    r"""Distances as they are up to half of the buckets, and beyond by their logarithm.

    .. math:: \mathrm{sign}(d)\Big(h + \Big\lceil (h - 1)
              \frac{\ln(|d| / h)}{\ln((M - 1) / h)} \Big\rceil\Big), \quad
              |d| > h = \mathrm{buckets} / 2

    It is the second version of DeBERTa: its tables have ``2 * buckets`` rows.

    Args:
      distances: any shape, integers, i - j.
      buckets: of one side, even, at least 4.
      max_distance: M, greater than h + 1; M - 1 has the last bucket, and what comes out
        for distances beyond is clipped to it by the attention.

    Returns:
      int64 of the same shape, on the host.

    Raises:
      ValueError: if the numbers do not fit.

    Source: He et al., https://arxiv.org/abs/2111.09543, and its released code.

    >>> deberta_log_buckets(np.array([0, -5, 128, 129, 511, -511])).tolist()
    [0, -5, 128, 129, 255, -255]
    """
    half = buckets // 2
    if buckets < 4 or buckets % 2 or max_distance <= half + 1:
        raise ValueError(
            "buckets must be even and at least 4, max_distance greater than half of "
            f"them and one; got {buckets} and {max_distance}"
        )
    far = np.maximum(np.abs(distances), half)
    steps = np.log(far / half) / np.log((max_distance - 1) / half) * (half - 1)
    # A hair less, as at M - 1 itself floating point may come out above a whole number.
    logarithmic = (np.ceil(steps - 1e-9) + half).astype(np.int64)
    return np.where(
        np.abs(distances) <= half, distances, np.sign(distances) * logarithmic
    )


def deberta_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    relative_key: jax.Array,
    relative_query: jax.Array,
    bucket: Callable[[np.ndarray], np.ndarray] | None = None,
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
      bucket: an odd function of distances, before they are clipped, on the host: in the
        second version `deberta_log_buckets`; None leaves them as they are.
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
    tables = relative_key, relative_query
    scores = _scores(query, key, value, *tables, bucket, scale, 1)
    return scored_attention(scores, value, mask, is_causal=is_causal)


def deberta_attention_as_released(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    relative_key: jax.Array,
    relative_query: jax.Array,
    bucket: Callable[[np.ndarray], np.ndarray] | None = None,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""`deberta_attention` with :math:`Q^r_{\delta(i, j)}` in the third term.

    The code that came with the paper looks up both terms with the same distance, and
    published weights were trained with it. Arguments, result and errors are those of
    `deberta_attention`.

    Source: https://github.com/microsoft/DeBERTa
    """
    tables = relative_key, relative_query
    scores = _scores(query, key, value, *tables, bucket, scale, -1)
    return scored_attention(scores, value, mask, is_causal=is_causal)


def _scores(query, key, value, relative_key, relative_query, bucket, scale, sign):
    check_own_heads(query, key, value)
    shape = (2 * (len(relative_key) // 2), *query.shape[-2:])
    if relative_key.shape != shape or relative_query.shape != shape:
        raise ValueError(
            "relative_key and relative_query must both be [2 k, N, H] with N, H = "
            f"{query.shape[-2:]}; got {relative_key.shape}, {relative_query.shape}"
        )
    wide, queries, keys = jnp.float32, query.shape[1], key.shape[1]
    content = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    distances = relative_distances(queries, keys)
    rows = _rows(relative_key, distances, bucket).astype(query.dtype)
    to_place = jnp.einsum("btnh,lnh->bntl", query, rows, preferred_element_type=wide)
    # From here keys are the rows: distances are j - i, or i - j if sign is -1.
    distances = sign * relative_distances(keys, queries)
    rows = _rows(relative_query, distances, bucket).astype(key.dtype)
    from_place = jnp.einsum("bsnh,lnh->bnsl", key, rows, preferred_element_type=wide)
    scores = content + relative_shift(to_place)
    scores += jnp.swapaxes(relative_shift(from_place), -1, -2)
    scale = 1.0 / math.sqrt(3 * query.shape[-1]) if scale is None else scale
    return scores * scale


def _rows(table, distances, bucket):
    half = len(table) // 2
    distances = distances if bucket is None else bucket(distances)
    return table[np.clip(distances + half, 0, 2 * half - 1)]
