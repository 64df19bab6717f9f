"""Activations that jax.nn lacks."""

import jax
import jax.numpy as jnp


def squared_relu(features: jax.Array) -> jax.Array:
    """Returns ``max(x, 0) ** 2`` in the dtype of `features`.

    Source: So et al., Primer, https://arxiv.org/abs/2109.08668
    """
    return jnp.square(jax.nn.relu(features))
