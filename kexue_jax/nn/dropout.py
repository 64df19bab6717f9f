"""Dropout by an explicit key."""

import jax
import jax.numpy as jnp


def dropout(features: jax.Array, *, rate: float, rng: jax.Array | None) -> jax.Array:
    """Zeroes features with probability `rate` and divides the others by ``1 - rate``.

    Args:
      features: any shape.
      rate: in ``[0, 1)``; 0 returns the features as they are.
      rng: a key; without one nothing is dropped.

    Returns:
      An array like `features`, with the same mean.

    Raises:
      ValueError: if `rate` is out of range.
    """
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"rate must be in [0, 1), got {rate}")
    if rng is None or rate == 0.0:
        return features
    keep = jax.random.bernoulli(rng, 1.0 - rate, features.shape)
    return jnp.where(keep, features / (1.0 - rate), jnp.zeros((), features.dtype))


def dropout_keys(rng: jax.Array | None, count: int) -> tuple[jax.Array | None, ...]:
    """Returns `count` keys made of one, or as many Nones if there is none."""
    return (None,) * count if rng is None else tuple(jax.random.split(rng, count))


def training_key(
    rng: jax.Array | None, *, train: bool, rate: float
) -> jax.Array | None:
    """Returns the key that dropout at `rate` follows: none outside training.

    Raises:
      ValueError: if training drops features and `rng` is None.
    """
    if train and rate > 0.0 and rng is None:
        raise ValueError("training with dropout needs a key: rng=None was given")
    return rng if train else None
