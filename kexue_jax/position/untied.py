"""Untied positions (TUPE): absolute positions that meet each other and no content."""

import math

import jax
import jax.numpy as jnp


def untied_bias(query: jax.Array, key: jax.Array) -> jax.Array:
    r"""Products of projected positions, to be added to scores before the softmax.

    .. math:: b_{ij} = \frac{(p_i U)^\top (p_j W)}{\sqrt{2 H}}

    The content is to be scaled by ``1 / sqrt(2 H)`` too, so that the sum of both varies
    as much as one of them would alone: bind ``scale=(2 * H) ** -0.5`` to the attention.

    Args:
      query: ``[T, N, H]`` or ``[B, T, N, H]``, positions of queries, projected by U.
      key: ``[S, N, H]`` or ``[B, S, N, H]``, positions of keys, projected by W.

    Returns:
      ``[1 or B, N, T, S]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: products are summed in float32.
    Source: Ke et al., https://arxiv.org/abs/2006.15595; https://kexue.fm/archives/8130
    """
    if not {query.ndim, key.ndim} <= {3, 4} or query.shape[-2:] != key.shape[-2:]:
        raise ValueError(
            "query and key must be [T, N, H] or [B, T, N, H] and [S, N, H] or "
            f"[B, S, N, H], got {query.shape} and {key.shape}"
        )
    scores = jnp.einsum(
        "...tnh,...snh->...nts", query, key, preferred_element_type=jnp.float32
    )
    scores = scores / math.sqrt(2 * query.shape[-1])
    return scores if scores.ndim == 4 else scores[None]


def untied_front(
    bias: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
    *,
    first_query: jax.Array,
    first_key: jax.Array,
) -> jax.Array:
    """Gives a symbol at position 0, such as [CLS], numbers of its own.

    It stands for the whole text and not for a place, so no position should tell how
    much it sees or is seen.

    Args:
      bias: ``[1 or B, N, T, S]``, as of `untied_bias`.
      query_positions: ``[T]`` or ``[B, T]``.
      key_positions: ``[S]`` or ``[B, S]``.
      first_query: ``[N]``, in place of what position 0 sees, itself included.
      first_key: ``[N]``, in place of what the others see of position 0.

    Returns:
      An array like `bias`.

    Raises:
      ValueError: if the shapes disagree.

    Source: Ke et al., https://arxiv.org/abs/2006.15595
    """
    heads = bias.shape[1]
    for name, number in (("first_query", first_query), ("first_key", first_key)):
        if number.shape != (heads,):
            raise ValueError(f"{name} must be [{heads}], got {number.shape}")
    query, key = (
        jnp.atleast_2d(jnp.asarray(x)) == 0 for x in (query_positions, key_positions)
    )
    of, to = (
        x[None, :, None, None].astype(bias.dtype) for x in (first_query, first_key)
    )
    seen = jnp.where(key[:, None, None, :], to, bias)
    return jnp.where(query[:, None, :, None], of, seen)
