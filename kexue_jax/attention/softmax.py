"""Softmax attention with the usual scale."""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def softmax_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Averages values by the softmax of scaled dot products.

    .. math:: \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt{H}}\Big) V

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: scores and weights are float32 whatever the input dtype, and the average
      accumulates in float32.
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
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    wide = jnp.float32
    scores = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    weights = numerics.masked_softmax(scores * scale, mask).astype(value.dtype)
    output = jnp.einsum("bnts,bsnv->btnv", weights, value, preferred_element_type=wide)
    return output.astype(value.dtype)
