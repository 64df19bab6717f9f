"""Attention whose weights are polynomials of the scores."""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.attention import protocol


def taylor_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    order: int = 2,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Averages values by Taylor polynomials of scaled dot products.

    .. math:: o_t = \frac{\sum_s M_{ts} f_n(x_{ts})\, v_s}{\sum_s M_{ts} f_n(x_{ts})},
              \quad x = \frac{Q K^\top}{\sqrt{H}}, \quad
              f_n(x) = \sum_{k \le n} \frac{x^k}{k!}

    As n is even every weight is positive. With n = 2 the weights are inner products of
    1 + H + H (H + 1) / 2 features, so linear attention can give the same; this dense
    form takes any even order and any mask.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, K, H]``, where K divides N.
      value: ``[B, S, K, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key. It
        multiplies the polynomial: no value added to a score would hide a key.
      is_causal: whether query t sees only keys s <= t + S - T; joined with `mask`.
      order: n, even and at least 2.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or `order` is odd or below 2.

    Numerics: scores and weights are float32 whatever the input dtype, and do not
      overflow; the average accumulates in float32.

    Source: https://kexue.fm/archives/7919
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
    seen = protocol.visible(mask, is_causal, queries, keys)
    logs = numerics.log_taylor_exp(scores, order=order)
    weights = numerics.masked_softmax(logs, seen).astype(value.dtype)
    weights = weights.reshape(batch, heads // group, group, queries, keys)
    output = jnp.einsum(
        "bkgts,bskv->btkgv", weights, value, preferred_element_type=wide
    )
    return output.reshape(batch, queries, heads, -1).astype(value.dtype)
