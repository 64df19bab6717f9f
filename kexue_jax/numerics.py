"""Stable pieces that all rooms share."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def _softmax(scores: jax.Array) -> jax.Array:
    top = jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf)
    # An empty row has the top -inf; with 0 instead its weights are exp(-inf) = 0.
    weights = jnp.exp(scores - jnp.where(top > -jnp.inf, top, 0.0))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0.0, 1.0, total)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    (weights,), (change,) = map(_softmax, primals), tangents
    mean = jnp.sum(weights * change, axis=-1, keepdims=True)
    return weights, weights * (change - mean)


def masked_softmax(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Softmax over the last axis, of the entries that `mask` keeps.

    Args:
      scores: ``[..., S]``, any float dtype; -inf also hides an entry.
      mask: bool, broadcastable to the shape of `scores`; True keeps an entry.

    Returns:
      ``[..., S]`` float32. A row sums to 1, or is all zeros where nothing is kept.

    Raises:
      ValueError: if `mask` is not bool or has a shape that `scores` cannot take.

    Numerics: float32 whatever the input dtype. Hidden entries, and rows in which all
      are hidden, have zero gradients, also where their scores are infinite or nan.
    """
    if mask is not None and (
        mask.dtype != jnp.bool_
        or mask.ndim > scores.ndim
        or any(
            m not in (1, s)
            for m, s in zip(mask.shape[::-1], scores.shape[::-1], strict=False)
        )
    ):
        raise ValueError(
            f"mask must be bool and broadcast to {scores.shape}, got "
            f"{mask.dtype} {mask.shape}"
        )
    scores = scores.astype(jnp.float32)
    if mask is not None:
        mask = jnp.expand_dims(mask, range(scores.ndim - mask.ndim))
        scores = jnp.where(mask, scores, -jnp.inf)
    return _softmax(scores)
