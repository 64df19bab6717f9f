"""One vector for a text out of the vectors of its tokens."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def _checked(states, mask):
    if states.ndim < 2 or not states.shape[-2]:
        raise ValueError(
            f"states must be [..., T, D], T at least 1, got {states.shape}"
        )
    if mask is None:
        return jnp.ones(states.shape[:-1], bool)
    if mask.dtype != jnp.bool_ or mask.shape != states.shape[:-1]:
        raise ValueError(
            f"mask must be bool {states.shape[:-1]}, got {mask.dtype} {mask.shape}"
        )
    return mask


def _one(states, mask, place):
    found = jnp.take_along_axis(states, place[..., None, None], axis=-2)[..., 0, :]
    some = jnp.any(mask, axis=-1)[..., None]
    return jnp.where(some, numerics.widened(found), 0.0)


def first_token(states: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The state of the first token that is there, ``[CLS]`` in BERT.

    Args:
      states: ``[..., T, D]`` of one layer, any float dtype.
      mask: bool ``[..., T]``; True keeps a token. None: all are there.

    Returns:
      ``[..., D]`` float32, or wider if `states` are; zeros for a text without tokens.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Source: https://kexue.fm/archives/8321, there P1
    """
    mask = _checked(states, mask)
    return _one(states, mask, jnp.argmax(mask, axis=-1))


def last_token(states: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """The state of the last token that is there, which has read all in a decoder.

    Arguments, result and errors are those of `first_token`.
    """
    mask = _checked(states, mask)
    last = states.shape[-2] - 1 - jnp.argmax(mask[..., ::-1], axis=-1)
    return _one(states, mask, last)


def mean_of_tokens(states: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    r"""The mean of the states of the tokens that are there, marks at the ends included.

    .. math:: \sum_t m_t h_t \big/ \sum_t m_t

    Arguments, result and errors are those of `first_token`.

    Numerics: sums in float32 or wider; states of tokens that are not there are not
      read, and have zero gradients.

    Source: https://kexue.fm/archives/8321, there P3

    >>> states = jnp.array([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]])
    >>> mean_of_tokens(states, jnp.array([True, True, False])).tolist()
    [2.0, 3.0]
    """
    mask = _checked(states, mask)
    total = jnp.sum(jnp.where(mask[..., None], numerics.widened(states), 0.0), axis=-2)
    count = jnp.sum(mask, axis=-1, dtype=total.dtype)
    return total / jnp.maximum(count, 1.0)[..., None]


def first_last_average(
    first: jax.Array, last: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """Half of the means of tokens of two layers each.

    Args:
      first: ``[..., T, D]``, states after the first block, not the embeddings.
      last: ``[..., T, D]``, states after the last block.
      mask: as in `first_token`.

    Returns:
      ``[..., D]``, as `first_token`.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Source: https://kexue.fm/archives/8321, there P4
    """
    if first.shape != last.shape:
        raise ValueError(
            f"first and last must have one shape, got {first.shape} and {last.shape}"
        )
    return 0.5 * (mean_of_tokens(first, mask) + mean_of_tokens(last, mask))
