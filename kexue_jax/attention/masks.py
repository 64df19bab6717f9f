"""Masks of attention: bool, True keeps a key."""

import jax
import jax.numpy as jnp


def causal_mask(queries: int, keys: int) -> jax.Array:
    """Lets every query see the keys up to its own place.

    The last query stands at the last key, so that a few new queries after many known
    keys need no other function.

    Args:
      queries: T, how many queries there are.
      keys: S, how many keys there are.

    Returns:
      ``[1, 1, T, S]`` bool, True where key s <= query t + S - T. With more queries
      than keys the first queries see nothing.
    """
    query = jnp.arange(queries)[:, None] + (keys - queries)
    return (jnp.arange(keys)[None, :] <= query)[None, None]
