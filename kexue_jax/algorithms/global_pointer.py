"""GlobalPointer: a score of every pair of a start and an end, for every type of span.

Spans include both ends. Where one number names a span among those of a sequence of S
tokens, it is ``start * S + end``.
"""

import jax
import jax.numpy as jnp


def span_scores(
    query: jax.Array, key: jax.Array, *, scale: float | jax.Array | None = None
) -> jax.Array:
    r"""Inner products of what each type says of a start and of an end.

    .. math:: s_c(i, j) = \lambda\, q_{c,i}^\top k_{c,j}

    Args:
      query: ``[B, T, C, H]``, of starts, turned by their positions where spans are to
        know their length.
      key: ``[B, S, C, H]``, of ends, likewise.
      scale: :math:`\lambda`; default ``1 / sqrt(H)``.

    Returns:
      ``[B, C, T, S]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/8373, with the scale of its program.

    >>> span_scores(jnp.ones((1, 2, 3, 4)), jnp.ones((1, 2, 3, 4))).shape
    (1, 3, 2, 2)
    """
    if query.ndim != 4 or key.shape != (
        query.shape[0],
        *key.shape[1:2],
        *query.shape[2:],
    ):
        raise ValueError(
            "query and key must be [B, T, C, H] and [B, S, C, H], got "
            f"{query.shape}, {key.shape}"
        )
    return _products("btch,bsch->bcts", query, key, scale)


def efficient_span_scores(
    query: jax.Array,
    key: jax.Array,
    start_terms: jax.Array,
    end_terms: jax.Array,
    *,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""One inner product for all types, and for each a term of the start and the end.

    .. math:: s_c(i, j) = \lambda\, q_i^\top k_j + a_{c,i} + b_{c,j}

    The product finds spans and the terms tell their type, so that a type costs 4 H
    weights instead of 2 H D.

    Args:
      query: ``[B, T, H]``, of starts, turned by their positions.
      key: ``[B, S, H]``, of ends, likewise.
      start_terms: a, ``[B, T, C]``.
      end_terms: b, ``[B, S, C]``.
      scale: :math:`\lambda`; default ``1 / sqrt(H)``.

    Returns:
      ``[B, C, T, S]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/8877
    """
    types = start_terms.shape[-1:]
    if (
        query.ndim != 3
        or key.shape != (query.shape[0], *key.shape[1:2], query.shape[2])
        or start_terms.shape != (*query.shape[:2], *types)
        or end_terms.shape != (*key.shape[:2], *types)
    ):
        raise ValueError(
            "query, key, start_terms, end_terms must be [B, T, H], [B, S, H], "
            f"[B, T, C], [B, S, C]; got {query.shape}, {key.shape}, "
            f"{start_terms.shape}, {end_terms.shape}"
        )
    shared = _products("bth,bsh->bts", query, key, scale)[:, None]
    start = jnp.swapaxes(start_terms, 1, 2)[..., None].astype(shared.dtype)
    end = jnp.swapaxes(end_terms, 1, 2)[:, :, None].astype(shared.dtype)
    return shared + start + end


def kept_spans(
    kept: jax.Array, *, upper: bool = True, inner: tuple[int, int] = (0, 0)
) -> jax.Array:
    """Which pairs of a start and an end are spans at all.

    Args:
      kept: bool ``[B, T]``; True keeps a token, False is padding.
      upper: whether no span ends before it starts. Links between entities may.
      inner: how many of the first and of the last tokens kept in each row begin and end
        no span; (1, 1) are the marks that BERT puts around a text.

    Returns:
      bool ``[B, 1, T, T]``, to hide scores with.

    Raises:
      ValueError: if `kept` is not bool ``[B, T]``, or a number of `inner` is negative.

    >>> kept_spans(jnp.array([[True, True, False]])).astype(int).tolist()
    [[[[1, 1, 0], [0, 1, 0], [0, 0, 0]]]]
    """
    if kept.ndim != 2 or kept.dtype != jnp.bool_:
        raise ValueError(f"kept must be bool [B, T], got {kept.dtype} {kept.shape}")
    if min(inner) < 0:
        raise ValueError(f"inner must be two numbers, at least 0, got {inner}")
    ahead = jnp.cumsum(kept, axis=1, dtype=jnp.int32)
    behind = ahead[:, -1:] - ahead
    kept = kept & (ahead > inner[0]) & (behind >= inner[1])
    pairs = kept[:, None, :, None] & kept[:, None, None, :]
    if not upper:
        return pairs
    place = jnp.arange(kept.shape[1])
    return pairs & (place[:, None] <= place[None, :])[None, None]


def _products(formula, query, key, scale):
    wide = jnp.result_type(query, key, jnp.float32)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    return jnp.einsum(formula, query, key, preferred_element_type=wide) * scale
