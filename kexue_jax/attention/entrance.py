"""What attention functions that see keys only through sums check at their entrance."""

import jax
import jax.numpy as jnp


def check_shapes(query: jax.Array, key: jax.Array, value: jax.Array) -> None:
    """Raises a ValueError unless query, key and value fit each other."""
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


def key_mask(mask: jax.Array | None, key: jax.Array, *, reason: str):
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
