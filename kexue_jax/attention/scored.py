"""The end that all variants with scores of their own share: scores, mask, values."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.attention.masks import causal_mask


def check_heads(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    """Refuses what is not ``[B, T, N, H]``, ``[B, S, N, H]`` and ``[B, S, N, V]``.

    Raises:
      ValueError: if the shapes disagree.
    """
    if (
        query.ndim != 4
        or query.shape[0] != key.shape[0]
        or query.shape[-2:] != key.shape[-2:]
        or key.shape[:-1] != value.shape[:-1]
    ):
        raise ValueError(
            "query, key, value must be [B, T, N, H], [B, S, N, H], [B, S, N, V]; "
            f"got {query.shape}, {key.shape}, {value.shape}"
        )


def scored_weights(
    scores: jax.Array, mask: jax.Array | None = None, *, is_causal: bool = False
) -> jax.Array:
    """Softmax over the keys that `mask` and, if asked, causality keep.

    Args:
      scores: ``[B, N, T, S]``, scaled.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.

    Returns:
      ``[B, N, T, S]`` float32; zeros for a query that sees no key.

    Raises:
      ValueError: if `mask` is not bool or has a shape that `scores` cannot take.
    """
    if mask is not None and (
        mask.dtype != jnp.bool_
        or mask.ndim != 4
        or any(m not in (1, s) for m, s in zip(mask.shape, scores.shape, strict=True))
    ):
        raise ValueError(
            f"mask must be bool and broadcast to {scores.shape}, got "
            f"{mask.dtype} {mask.shape}"
        )
    if is_causal:
        causal = causal_mask(*scores.shape[-2:])
        mask = causal if mask is None else mask & causal
    return numerics.masked_softmax(scores, mask)


def scored_attention(
    scores: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
) -> jax.Array:
    """Averages values by the softmax of given scores.

    Args:
      scores: ``[B, N, T, S]``, scaled.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: weights are float32, and the average accumulates in float32.
    """
    batch, heads, _, keys = scores.shape
    if value.ndim != 4 or value.shape[:-1] != (batch, keys, heads):
        raise ValueError(
            "scores and value must be [B, N, T, S] and [B, S, N, V]; "
            f"got {scores.shape}, {value.shape}"
        )
    weights = scored_weights(scores, mask, is_causal=is_causal).astype(value.dtype)
    output = jnp.einsum(
        "bnts,bsnv->btnv", weights, value, preferred_element_type=jnp.float32
    )
    return output.astype(value.dtype)
