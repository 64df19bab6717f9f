"""ReRoPE and Leaky ReRoPE: rotary positions whose distances stop growing at a window.

Both take queries and keys that are not rotated yet, which is also how a cache of keys
must hold them.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.scored import scored_attention


def rectified_rotary_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    window: int,
    rotate: Callable[..., jax.Array],
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Softmax attention with rotary positions at distance :math:`\min(i - j, w)`.

    .. math:: s_{ij} = q_i^\top R_{\min(i - j,\,w)}\, k_j

    With w below the length of training no distance is ever new to the model, however
    long the input, and near keys keep their exact places. A quarter to a half of that
    length is a good w.

    Args:
      query: ``[B, T, N, H]``, not rotated; the last query stands at the last key.
      key: ``[B, S, N, H]``, not rotated.
      value: ``[B, S, N, V]``.
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``; True keeps a key.
      is_causal: whether query t sees the keys s <= t + S - T only.
      window: w >= 1, in tokens.
      rotate: ``(features, positions) -> features``, such that products depend on
        position differences alone: `rotary`, `rotary_halves` or a partial function.
      scale: broadcastable to ``[B, N, T, 1]``; default ``1 / sqrt(H)``.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or `window` is not positive.

    Numerics: scores are float32. Two matrices of them are made, and at each place one
      is taken.

    Source: https://kexue.fm/archives/9708. Keys after the query, of which the post has
      none, keep their distance i - j < 0.
    """
    near, far = _positions(query, key, value, window, 0.0)
    scores = _selected(query, key, near, far, window, rotate, scale)
    return scored_attention(scores, value, mask, is_causal=is_causal)


def leaky_rectified_rotary_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    is_causal: bool = False,
    window: int,
    factor: float,
    rotate: Callable[..., jax.Array],
    scale: float | jax.Array | None = None,
) -> jax.Array:
    r"""Softmax attention with rotary distances that grow slowly beyond a window.

    .. math:: s_{ij} = q_i^\top R_{d}\, k_j, \quad d = \begin{cases}
              i - j & i - j < w \\ w + (i - j - w) / k & \text{otherwise}\end{cases}

    With k = 1 it is attention with rotary positions, with k without bound it is
    `rectified_rotary_attention`, whose other arguments, result and errors it has.

    Args:
      query, key, value, mask, is_causal, window, rotate, scale: as there.
      factor: k >= 1. To stay within the training length L at length n, it is at least
        (n - w) / (L - w).

    Source: https://kexue.fm/archives/9708
    """
    if factor < 1.0:
        raise ValueError(f"factor must be at least 1, got {factor}")
    near, far = _positions(query, key, value, window, 1.0 / factor)
    scores = _selected(query, key, near, far, window, rotate, scale)
    return scored_attention(scores, value, mask, is_causal=is_causal)


def _positions(query, key, value, window, slope):
    """Positions of queries and of keys for near pairs, and those for far pairs.

    The far ones are w + (i - w) slope and j slope, whose difference is the slow
    distance: with slope 0 all queries stand at w and all keys at 0.
    """
    check_own_heads(query, key, value)
    if window < 1:
        raise ValueError(f"window must be at least 1, got {window}")
    keys = jnp.arange(key.shape[1])
    queries = jnp.arange(query.shape[1]) + (key.shape[1] - query.shape[1])
    slow = (queries - window).astype(jnp.float32) * slope + window
    return (queries, keys), (slow, keys.astype(jnp.float32) * slope)


def _selected(query, key, near, far, window, rotate, scale):
    def scores(positions):
        turned = rotate(query, positions[0]), rotate(key, positions[1])
        return jnp.einsum(
            "btnh,bsnh->bnts", *turned, preferred_element_type=jnp.float32
        )

    is_near = near[0][:, None] - near[1][None, :] < window
    scale = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    return jnp.where(is_near[None, None], scores(near), scores(far)) * scale
