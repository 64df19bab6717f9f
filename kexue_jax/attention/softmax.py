"""Softmax attention with the usual scale."""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.attention import protocol


def softmax_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    is_causal: bool = False,
) -> jax.Array:
    r"""Averages values by the softmax of scaled dot products.

    .. math:: \mathrm{softmax}\Big(\frac{Q K^\top}{\sqrt{H}} + b\Big) V

    All scores are held at once; `blocked_attention` gives the same with memory linear
    in the length.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, K, H]``. K divides N, and query head n reads key head n K / N: with
        K = N every head has its own keys, with K = 1 all share them.
      value: ``[B, S, K, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      bias: float of rank 4, broadcastable to ``[B, N, T, S]``; added to scaled scores.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.
      is_causal: whether query t sees only keys s <= t + S - T; joined with `mask`.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: scores and weights are float32 whatever the input dtype, and the average
      accumulates in float32.

    Source: Vaswani et al., https://arxiv.org/abs/1706.03762. As
      `jax.nn.dot_product_attention`, but for three things: a query without keys gets
      zeros there where jax gives the mean of all values; the causal mask stands at the
      last key, there at the first; lengths are masks (`masks.length_mask`).
    """
    group = protocol.check_inputs(query, key, value)
    (batch, queries, heads, size), keys = query.shape, key.shape[1]
    shape = (batch, heads, queries, keys)
    protocol.check_mask(mask, shape)
    scale = 1.0 / math.sqrt(size) if scale is None else scale
    wide = jnp.float32
    grouped = query.reshape(batch, queries, heads // group, group, size)
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, key, preferred_element_type=wide)
    scores = scores.reshape(shape) * jnp.asarray(scale, wide)
    if bias is not None:
        protocol.check_broadcast("bias", bias, shape)
        scores = scores + bias.astype(wide)
    seen = protocol.visible(mask, is_causal, queries, keys)
    weights = numerics.masked_softmax(scores, seen).astype(value.dtype)
    weights = weights.reshape(batch, heads // group, group, queries, keys)
    output = jnp.einsum(
        "bkgts,bskv->btkgv", weights, value, preferred_element_type=wide
    )
    return output.reshape(batch, queries, heads, -1).astype(value.dtype)
