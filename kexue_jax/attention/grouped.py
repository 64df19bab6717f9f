"""Heads of queries that share heads of keys, for any attention function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kexue_jax.attention import protocol


def grouped_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    *,
    attention: Callable[..., jax.Array],
    is_causal: bool = False,
    **options: Any,
) -> jax.Array:
    """Calls an attention function that wants as many heads of keys as of queries.

    Each head of keys and values is repeated for the N / K heads of queries that share
    it. A cache then holds K heads and not N. `softmax_attention`, `blocked_attention`
    and the sparse ones share heads by themselves and repeat nothing.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, K, H]``, where K divides N; one head is multi-query attention.
      value: ``[B, S, K, V]``.
      mask: whatever `attention` takes.
      attention: ``(query, key, value, mask, *, is_causal, ...) -> output``.
      is_causal, options: go to `attention`.

    Returns:
      ``[B, T, N, V]``.

    Raises:
      ValueError: if the shapes disagree.

    Source: Shazeer, https://arxiv.org/abs/1911.02150; Ainslie et al.,
      https://arxiv.org/abs/2305.13245
    """
    group = protocol.check_inputs(query, key, value)
    if group > 1:
        key, value = (jnp.repeat(x, group, axis=2) for x in (key, value))
    return attention(query, key, value, mask, is_causal=is_causal, **options)
