"""Relative positions of Transformer-XL and XLNet: content and place meet in scores."""

import math

import jax
import jax.numpy as jnp

from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.relative_shift import relative_shift
from kexue_jax.attention.scored import scored_attention


def transformer_xl_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    content_bias: jax.Array,
    position_bias: jax.Array,
    relative_key: jax.Array,
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Softmax attention with a second kind of key that depends on distance alone.

    .. math:: s_{ij} = \frac{(q_i + u)^\top k_j + (q_i + v)^\top W_R R_{i-j}}{\sqrt{H}}

    R is sinusoidal and not clipped, so any length has its rows. Keys may be more than
    queries: those of a memory come first. XLNet has the same scores in both its
    streams, with masks of a permutation.

    Args:
      query: ``[B, T, N, H]``; the last query stands at the last key.
      key: ``[B, S, N, H]``.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.
      content_bias: u, ``[N, H]``.
      position_bias: v, ``[N, H]``.
      relative_key: ``[S + T - 1, N, H]``, :math:`W_R R_d` of the distances
        ``relative_distances(T, S)``, from S - 1 down to 1 - T; R is
        `sinusoidal_halves` of them.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: scores are float32; the two biases are never added to queries of less
      precision.

    Source: Dai et al., https://arxiv.org/abs/1901.02860; Yang et al.,
      https://arxiv.org/abs/1906.08237; https://kexue.fm/archives/8130
    """
    check_own_heads(query, key, value)
    heads, size = query.shape[-2:]
    distances = key.shape[1] + query.shape[1] - 1
    for name, array, shape in (
        ("content_bias", content_bias, (heads, size)),
        ("position_bias", position_bias, (heads, size)),
        ("relative_key", relative_key, (distances, heads, size)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name} must be {shape}, got {array.shape}")

    wide, rows = jnp.float32, relative_key.astype(query.dtype)
    content = jnp.einsum("btnh,bsnh->bnts", query, key, preferred_element_type=wide)
    content += _alone("nh,bsnh->bns", content_bias, key)[:, :, None]
    place = jnp.einsum("btnh,lnh->bntl", query, rows, preferred_element_type=wide)
    place += _alone("nh,lnh->nl", position_bias, rows)[None, :, None]
    scale = 1.0 / math.sqrt(size) if scale is None else scale
    scores = (content + relative_shift(place)) * scale
    return scored_attention(scores, value, mask, is_causal=is_causal)


def _alone(letters, bias, keys):
    return jnp.einsum(letters, bias.astype(jnp.float32), keys.astype(jnp.float32))
