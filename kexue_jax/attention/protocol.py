"""What every attention function checks at its entrance, and the mask they share.

The protocol is ``f(query, key, value, mask=None, *, is_causal=False, ...) -> output``
on `query` ``[B, T, N, H]``, `key` ``[B, S, K, H]`` and `value` ``[B, S, K, V]``. A mask
is bool of rank 4 and True keeps a key; a query that sees no key gets zeros.
"""

import jax
import jax.numpy as jnp

from kexue_jax.attention.masks import causal_mask


def check_inputs(query: jax.Array, key: jax.Array, value: jax.Array) -> int:
    """Returns how many query heads share a key head, N / K.

    Args:
      query: ``[B, T, N, H]``.
      key: ``[B, S, K, H]``, where K divides N.
      value: ``[B, S, K, V]``.

    Raises:
      ValueError: if the shapes disagree.
    """
    if (
        query.ndim != 4
        or key.ndim != 4
        or query.shape[0] != key.shape[0]
        or query.shape[-1] != key.shape[-1]
        or key.shape[:-1] != value.shape[:-1]
        or query.shape[2] % max(key.shape[2], 1)
    ):
        raise ValueError(
            "query, key, value must be [B, T, N, H], [B, S, K, H], [B, S, K, V], and K "
            f"must divide N; got {query.shape}, {key.shape}, {value.shape}"
        )
    return query.shape[2] // key.shape[2]


def check_own_heads(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    """Refuses what is not ``[B, T, N, H]``, ``[B, S, N, H]`` and ``[B, S, N, V]``.

    It is for those that cannot share the heads of keys among queries.

    Raises:
      ValueError: if the shapes disagree.
    """
    if (
        query.ndim != 4
        or key.ndim != 4
        or query.shape[0] != key.shape[0]
        or query.shape[-2:] != key.shape[-2:]
        or key.shape[:-1] != value.shape[:-1]
    ):
        raise ValueError(
            "query, key, value must be [B, T, N, H], [B, S, N, H], [B, S, N, V]; "
            f"got {query.shape}, {key.shape}, {value.shape}"
        )


def check_broadcast(name: str, array: jax.Array, scores: tuple[int, ...]) -> None:
    """Refuses an array that is not of rank 4 and 1 or equal to `scores` in each axis.

    Args:
      name: how the caller calls the array.
      array: a mask, a bias or a scale.
      scores: ``(B, N, T, S)``.

    Raises:
      ValueError: with the name, the shape and what was expected.
    """
    if array.ndim != len(scores) or any(
        size not in (1, whole) for size, whole in zip(array.shape, scores, strict=True)
    ):
        raise ValueError(f"{name} must broadcast to {scores}, got {array.shape}")


def check_mask(mask: jax.Array | None, scores: tuple[int, ...]) -> None:
    """Refuses a mask that is not bool or does not broadcast to ``(B, N, T, S)``.

    Raises:
      ValueError: with the dtype, the shape and what was expected.
    """
    if mask is None:
        return
    if mask.dtype != jnp.bool_:
        raise ValueError(f"mask must be bool, True keeps a key; got {mask.dtype}")
    check_broadcast("mask", mask, scores)


def visible(
    mask: jax.Array | None, is_causal: bool, queries: int, keys: int
) -> jax.Array | None:
    """Joins a mask with the causal one, if that is wanted.

    Args:
      mask: bool, broadcastable to ``[B, N, T, S]``, or None.
      is_causal: whether query t sees only keys s <= t + S - T.
      queries, keys: T and S.

    Returns:
      bool, broadcastable to ``[B, N, T, S]``; None if everything is visible.
    """
    if not is_causal:
        return mask
    causal = causal_mask(queries, keys)
    return causal if mask is None else mask & causal


def key_mask(
    mask: jax.Array | None, key: jax.Array, *, reason: str
) -> jax.Array | None:
    """Returns which keys count, ``[B or 1, N or 1, S]`` bool, or None for all.

    Args:
      mask: bool ``[B or 1, N or 1, 1, S or 1]``; None keeps every key.
      key: ``[B, S, N, H]``.
      reason: why the caller can honour no other mask, for the message.

    Raises:
      ValueError: if `mask` is not bool, does not fit, or tells queries apart.
    """
    if mask is None:
        return None
    batch, keys, heads, _ = key.shape
    allowed = zip(mask.shape, (batch, heads, 1, keys), strict=False)
    if (
        mask.dtype != jnp.bool_
        or mask.ndim != 4
        or any(m not in (1, n) for m, n in allowed)
    ):
        raise ValueError(
            f"mask must be bool [{batch} or 1, {heads} or 1, 1, {keys}], one row for "
            f"all queries, as {reason}; got {mask.dtype} {mask.shape}"
        )
    return jnp.broadcast_to(mask[:, :, 0], (*mask.shape[:2], keys))
