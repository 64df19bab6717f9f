r"""Attention whose scores are no products of queries and keys.

A score is predicted from one token alone (dense) or belongs to a pair of places
(random); each has a form of low rank, and any of them mix. All functions give the
scores, before mask and softmax, that `scored_attention` then applies to values.

Source: https://kexue.fm/archives/7430 and https://arxiv.org/abs/2005.00743. The scores
are taken as they are, without :math:`1/\sqrt{H}`: initialise them small.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

WIDE = jnp.float32


def _check_length(length: int, longest: int) -> None:
    if not 0 <= length <= longest:
        raise ValueError(
            f"length must be 0 to {longest}, the places that have parameters, got "
            f"{length}"
        )


def random_scores(table: jax.Array, length: int) -> jax.Array:
    """Scores that belong to pairs of places, whatever stands there.

    Args:
      table: ``[N, L, L]``, L the greatest length; trained, or drawn once and left.
      length: T, at most L.

    Returns:
      ``[1, N, T, T]``, a view of the first T places.

    Raises:
      ValueError: if T exceeds L or `table` is not square.
    """
    if table.ndim != 3 or table.shape[1] != table.shape[2]:
        raise ValueError(f"table must be [N, L, L], got {table.shape}")
    _check_length(length, table.shape[1])
    return table[None, :, :length, :length]


def factorized_random_scores(
    left: jax.Array, right: jax.Array, length: int
) -> jax.Array:
    r"""Scores of pairs of places as a product of two thin tables, :math:`R_1 R_2^\top`.

    Args:
      left, right: ``[N, L, K]``; the scores of a head have at most rank K.
      length: T, at most L.

    Returns:
      ``[1, N, T, T]`` float32.

    Raises:
      ValueError: if T exceeds L or the tables differ in shape.
    """
    if left.ndim != 3 or left.shape != right.shape:
        raise ValueError(
            f"left and right must both be [N, L, K], got {left.shape} and {right.shape}"
        )
    _check_length(length, left.shape[1])
    left, right = left[:, :length], right[:, :length]
    return jnp.einsum("ntk,nsk->nts", left, right, preferred_element_type=WIDE)[None]


def dense_scores(
    features: jax.Array,
    hidden_kernel: jax.Array,
    hidden_bias: jax.Array,
    output_kernel: jax.Array,
    output_bias: jax.Array,
) -> jax.Array:
    r"""Scores of all places, predicted from one token by a two-layer perceptron.

    .. math:: B_i = \mathrm{relu}(x_i W_1 + b_1) W_2 + b_2

    What a token says about a place does not depend on what stands there, so nothing of
    the future leaks through a causal mask.

    Args:
      features: ``[B, T, D]``.
      hidden_kernel, hidden_bias: ``[N, D, K]`` and ``[N, K]``.
      output_kernel, output_bias: ``[N, K, L]`` and ``[N, L]``, L the greatest length.

    Returns:
      ``[B, N, T, T]`` float32.

    Raises:
      ValueError: if T exceeds L or the shapes disagree.
    """
    heads, size, inner = hidden_kernel.shape
    longest = output_kernel.shape[-1]
    if (
        features.ndim != 3
        or features.shape[-1] != size
        or hidden_bias.shape != (heads, inner)
        or output_kernel.shape != (heads, inner, longest)
        or output_bias.shape != (heads, longest)
    ):
        raise ValueError(
            "features, hidden_kernel, hidden_bias, output_kernel, output_bias must be "
            "[B, T, D], [N, D, K], [N, K], [N, K, L], [N, L]; got "
            f"{features.shape}, {hidden_kernel.shape}, {hidden_bias.shape}, "
            f"{output_kernel.shape}, {output_bias.shape}"
        )
    length = features.shape[1]
    _check_length(length, longest)
    hidden = jnp.einsum(
        "btd,ndk->bntk", features, hidden_kernel, preferred_element_type=WIDE
    )
    hidden = jax.nn.relu(hidden + hidden_bias[None, :, None].astype(WIDE))
    kernel = output_kernel[..., :length].astype(WIDE)
    scores = jnp.einsum("bntk,nks->bnts", hidden, kernel, preferred_element_type=WIDE)
    return scores + output_bias[None, :, None, :length].astype(WIDE)


def factorized_dense_scores(
    features: jax.Array, high_kernel: jax.Array, low_kernel: jax.Array
) -> jax.Array:
    r"""Scores of all places, the outer product of two short predictions of a token.

    .. math:: B_{i,pb+r} = (x_i A)_p (x_i C)_r

    The first factor is repeated and the second tiled. If both were tiled and of one
    size, a row would hold no more different scores than a factor.

    Args:
      features: ``[B, T, D]``.
      high_kernel, low_kernel: A, ``[N, D, a]``, and C, ``[N, D, b]``; a b is the
        greatest length.

    Returns:
      ``[B, N, T, T]`` float32.

    Raises:
      ValueError: if T exceeds a b or the shapes disagree.
    """
    if (
        not features.ndim == high_kernel.ndim == low_kernel.ndim == 3
        or high_kernel.shape[:2] != low_kernel.shape[:2]
        or features.shape[-1] != high_kernel.shape[1]
    ):
        raise ValueError(
            "features, high_kernel, low_kernel must be [B, T, D], [N, D, a], "
            f"[N, D, b]; got {features.shape}, {high_kernel.shape}, {low_kernel.shape}"
        )
    length = features.shape[1]
    _check_length(length, high_kernel.shape[-1] * low_kernel.shape[-1])
    high, low = (
        jnp.einsum("btd,ndk->bntk", features, kernel, preferred_element_type=WIDE)
        for kernel in (high_kernel, low_kernel)
    )
    whole = high[..., :, None] * low[..., None, :]
    return whole.reshape(*whole.shape[:-2], -1)[..., :length]


def mixed_scores(scores: Sequence[jax.Array], logits: jax.Array) -> jax.Array:
    r"""A weighted sum of scores, :math:`\sum_i \mathrm{softmax}(a)_i B_i`.

    Args:
      scores: K arrays ``[B or 1, N, T, S]``.
      logits: a, ``[K]``; equal ones give the mean.

    Returns:
      ``[B or 1, N, T, S]`` float32.

    Raises:
      ValueError: if `logits` has not one entry for each of `scores`.
    """
    if logits.shape != (len(scores),) or not scores:
        raise ValueError(
            f"logits must be [{len(scores)}], one for each of scores, got "
            f"{logits.shape}"
        )
    shares = jax.nn.softmax(logits.astype(WIDE))
    parts = [
        share * part.astype(WIDE) for share, part in zip(shares, scores, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        shape = jnp.broadcast_shapes(total.shape, part.shape)
        total = jnp.broadcast_to(total, shape) + jnp.broadcast_to(part, shape)
    return total
