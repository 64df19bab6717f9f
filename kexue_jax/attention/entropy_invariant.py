"""Attention whose temperature follows the number of visible keys."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from kexue_jax.attention import protocol
from kexue_jax.attention.masks import causal_mask
from kexue_jax.attention.softmax import softmax_attention


def visible_count(
    mask: jax.Array | None, queries: int, keys: int, *, is_causal: bool = False
) -> jax.Array:
    """Counts the keys that each query sees.

    Args:
      mask: bool of rank 4, broadcastable to ``[B, N, T, S]``, or None.
      queries, keys: T and S.
      is_causal: whether query t sees only keys s <= t + S - T.

    Returns:
      float32, broadcastable to ``[B, N, T, 1]``. Nothing of size T S is made unless
      `mask` is of that size.
    """
    if mask is None:
        mask = jnp.ones((1, 1, 1, 1), bool)
    if not is_causal or mask.shape[2] > 1:
        seen = mask & causal_mask(queries, keys) if is_causal else mask
        seen = jnp.broadcast_to(seen, (*seen.shape[:-1], keys))
        return jnp.sum(seen, axis=-1, keepdims=True, dtype=jnp.float32)
    seen = jnp.broadcast_to(mask[:, :, 0], (*mask.shape[:2], keys))
    before = jnp.cumsum(seen, axis=-1, dtype=jnp.float32)
    before = jnp.pad(before, [(0, 0), (0, 0), (1, 0)])
    place = jnp.clip(jnp.arange(1, queries + 1) + keys - queries, 0, keys)
    return before[..., place][..., None]


def entropy_scale(
    count: jax.Array, *, base: float = 512.0, floor: float = 1.0
) -> jax.Array:
    r"""Returns :math:`\log \max(n, n_0) / \log m`, the factor of usual scores.

    Args:
      count: n, of any shape, how many keys are visible.
      base: m > 1, the count at which the factor is 1.
      floor: the count :math:`n_0 \ge 1` below which the factor falls no further.

    Returns:
      float32 in the shape of `count`; never below 0.

    Raises:
      ValueError: if `base` or `floor` is out of range.

    >>> entropy_scale(jnp.array([1, 512, 512**2])).round(3).tolist()
    [0.0, 1.0, 2.0]
    """
    if base <= 1.0:
        raise ValueError(f"base must be greater than 1, got {base}")
    if floor < 1.0:
        raise ValueError(f"floor must be at least 1, got {floor}")
    return jnp.log(jnp.maximum(count.astype(jnp.float32), floor)) / math.log(base)


def entropy_invariant_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    bias: jax.Array | None = None,
    is_causal: bool = False,
    base: float = 512.0,
    floor: float = 1.0,
    attention: Callable[..., jax.Array] = softmax_attention,
) -> jax.Array:
    r"""Averages values by a softmax that does not grow flatter with more keys.

    .. math:: \mathrm{softmax}\Big(\frac{\log_m \max(n, n_0)}{\sqrt{H}}
              \,Q K^\top\Big) V

    n counts the keys that a query sees, m is `base`, usually the training length. At
    n = m this is `softmax_attention`; beyond, scores sharpen, so that one key that
    matches keeps its share however many do not. For keys that have nothing to do with
    the query the entropy still grows with n, only slower.

    Args:
      query, key, value, mask, bias, is_causal: as in `softmax_attention`.
      base: m > 1.
      floor: :math:`n_0 \ge 1`. With 1 a query of two keys is nearly an average; a model
        with very short inputs may want 16. With ``floor=base`` the factor is
        ``max(1, log n / log m)``: what a model trained with the usual scale gets when
        it reads more than its training length.
      attention: `softmax_attention`, or what takes the same arguments; without a bias
        it need not take one, as `rectified_rotary_attention` does not.

    Returns:
      ``[B, T, N, V]`` in the dtype of `value`; zeros for a query that sees no key.

    Raises:
      ValueError: if the shapes disagree, or `base` or `floor` is out of range.

    Source: https://kexue.fm/archives/8823 and 9034, with n counted per query under the
      mask. bert4keras has a floor of 16.
    """
    protocol.check_inputs(query, key, value)
    (batch, queries, heads, size), keys = query.shape, key.shape[1]
    protocol.check_mask(mask, (batch, heads, queries, keys))
    count = visible_count(mask, queries, keys, is_causal=is_causal)
    scale = entropy_scale(count, base=base, floor=floor) / math.sqrt(size)
    options = {} if bias is None else {"bias": bias}
    return attention(
        query, key, value, mask, scale=scale, is_causal=is_causal, **options
    )
