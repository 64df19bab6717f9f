"""Logarithms of sums of exponentials whose gradients are finite for every input."""

import jax
import jax.numpy as jnp


@jax.custom_jvp
def log_sum_exp(scores: jax.Array) -> jax.Array:
    r"""Returns :math:`\log \sum_i e^{s_i}` over the last axis.

    Args:
      scores: ``[..., N]`` float; -inf hides an entry, and N may be 0.

    Returns:
      ``[...]`` in the dtype of `scores`; -inf where nothing is there.

    Numerics: the gradient is the softmax, and zero where nothing is there.

    >>> round(log_sum_exp(jnp.zeros(4)).item(), 4)
    1.3863
    """
    top = jnp.max(scores, axis=-1, initial=-jnp.inf)
    safe = jnp.where(jnp.isfinite(top), top, 0.0)
    total = jnp.sum(jnp.exp(scores - safe[..., None]), axis=-1)
    some = total != 0.0
    return jnp.where(some, safe + jnp.log(jnp.where(some, total, 1.0)), -jnp.inf)


@jax.custom_jvp
def log_one_plus_sum_exp(scores: jax.Array) -> jax.Array:
    r"""Returns :math:`\log \big(1 + \sum_i e^{s_i}\big)` over the last axis.

    Args:
      scores: ``[..., N]`` float; -inf hides an entry, and N may be 0.

    Returns:
      ``[...]`` in the dtype of `scores`, never below 0; 0 where nothing is there.

    Numerics: a tiny sum keeps its digits, as nothing is added to the 1 before
      ``log1p``; the gradient is the softmax with a score of 0 beside the others.

    >>> log_one_plus_sum_exp(jnp.array([-30.0])).item() > 0.0
    True
    """
    top = jnp.maximum(jnp.max(scores, axis=-1, initial=-jnp.inf), 0.0)
    safe = jnp.where(jnp.isfinite(top), top, 0.0)
    rest = jnp.sum(jnp.exp(scores - safe[..., None]), axis=-1)
    large = safe > 0.0
    inner = jnp.where(large, jnp.exp(-safe) + rest, 1.0)
    small = jnp.log1p(jnp.where(large, 0.0, rest))
    return jnp.where(large, safe + jnp.log(inner), small)


def _shares(scores, total):
    """Each entry's share of the sum; zeros where the sum is nothing or infinite."""
    some = jnp.isfinite(total)[..., None]
    apart = scores - jnp.where(some, total[..., None], 0.0)
    return jnp.where(some, jnp.exp(jnp.where(some, apart, 0.0)), 0.0)


@log_sum_exp.defjvp
def _log_sum_exp_jvp(primals, tangents):
    (scores,), (change,) = primals, tangents
    total = log_sum_exp(scores)
    return total, jnp.sum(_shares(scores, total) * change, axis=-1)


@log_one_plus_sum_exp.defjvp
def _log_one_plus_sum_exp_jvp(primals, tangents):
    (scores,), (change,) = primals, tangents
    total = log_one_plus_sum_exp(scores)
    return total, jnp.sum(_shares(scores, total) * change, axis=-1)
