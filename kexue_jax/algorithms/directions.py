"""Vectors of norm 1."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def directions(vectors: jax.Array) -> jax.Array:
    r"""Divides vectors by their Euclidean norms.

    .. math:: x / \|x\|

    Args:
      vectors: ``[..., D]``, any float dtype, finite.

    Returns:
      ``[..., D]`` float32, or wider if `vectors` are. A vector without an entry of
      normal size stays, or becomes, zero.

    Numerics: squares neither overflow nor vanish; gradients at zero vectors are 0.

    >>> directions(jnp.array([[3e30, 4e30], [0.0, 0.0]])).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = numerics.widened(vectors)
    most = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True, initial=0.0)
    most = jax.lax.stop_gradient(most)  # what comes out does not depend on lengths
    some = most >= jnp.finfo(most.dtype).tiny
    vectors = jnp.where(some, vectors, 0.0) / jnp.where(some, most, 1.0)
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.where(some, square, 1.0))
