"""Logarithms of sums of exponentials that stay differentiable where the sum is 0."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


@jax.custom_jvp
def logsumexp(scores: jax.Array) -> jax.Array:
    r"""Returns :math:`\log \sum_i e^{s_i}` over the last axis.

    Args:
      scores: ``[..., S]``, float32 or float64; -inf leaves an entry out.

    Returns:
      ``[...]``; -inf where all entries are left out.

    Numerics: gradients are `kexue_jax.numerics.masked_softmax`: zeros where all entries
      are left out, where those of `jax.nn.logsumexp` are nan.
    """
    top = jnp.max(scores, axis=-1)
    safe = jnp.where(top > -jnp.inf, top, 0.0)
    total = jnp.sum(jnp.exp(scores - safe[..., None]), axis=-1)
    empty = total == 0.0
    return jnp.where(empty, -jnp.inf, jnp.log(jnp.where(empty, 1.0, total)) + safe)


@logsumexp.defjvp
def _jvp(primals, tangents):
    (scores,), (change,) = primals, tangents
    weights = numerics.masked_softmax(scores)
    return logsumexp(scores), jnp.sum(weights * change, axis=-1)
