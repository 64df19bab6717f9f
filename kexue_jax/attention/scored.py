"""The end that all variants with scores of their own share: scores, mask, values."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.attention import protocol


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
    protocol.check_mask(mask, scores.shape)
    mask = protocol.visible(mask, is_causal, *scores.shape[-2:])
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
      scores: ``[B or 1, N, T, S]``, scaled.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: weights are float32, and the average accumulates in float32.
    """
    fits = value.ndim == scores.ndim == 4 and scores.shape[0] in (1, value.shape[0])
    if not fits or scores.shape[1::2] != value.shape[2:0:-1]:
        raise ValueError(
            "scores and value must be [B or 1, N, T, S] and [B, S, N, V]; "
            f"got {scores.shape}, {value.shape}"
        )
    scores = jnp.broadcast_to(scores, (value.shape[0], *scores.shape[1:]))
    weights = scored_weights(scores, mask, is_causal=is_causal).astype(value.dtype)
    output = jnp.einsum(
        "bnts,bsnv->btnv", weights, value, preferred_element_type=jnp.float32
    )
    return output.astype(value.dtype)
