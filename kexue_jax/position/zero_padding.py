"""Convolutions that leak positions through their padding, and such that do not."""

import jax
import jax.numpy as jnp


def zero_padded_convolution(features: jax.Array, kernel: jax.Array) -> jax.Array:
    r"""Each feature's own convolution along the sequence, with zeros beyond the ends.

    .. math:: y_{td} = \sum_k w_{kd}\, x_{t + k - r,\, d}, \quad r = (K - 1) / 2

    Near the ends some terms are missing, so that even constant features come out
    different: a stack of such layers tells every position how far the ends are.

    Args:
      features: ``[B, T, D]``.
      kernel: w, ``[K, D]``, K odd; not flipped.

    Returns:
      ``[B, T, D]`` in the dtype of `features`.

    Raises:
      ValueError: if K is even, or the shapes disagree.

    Numerics: sums are float32.
    Source: Islam et al., https://arxiv.org/abs/2001.08248;
      https://kexue.fm/archives/8130
    """
    reach = _check(features, kernel)
    return _convolved(jnp.pad(features, ((0, 0), (reach, reach), (0, 0))), kernel)


def circular_convolution(features: jax.Array, kernel: jax.Array) -> jax.Array:
    """`zero_padded_convolution` on a circle: what follows the end is the beginning.

    Shifting the input around the circle shifts the result, so no position can be told
    from another. Arguments, result and errors are those of `zero_padded_convolution`.
    """
    reach = _check(features, kernel)
    padding = ((0, 0), (reach, reach), (0, 0))
    return _convolved(jnp.pad(features, padding, mode="wrap"), kernel)


def _check(features, kernel):
    if (
        features.ndim != 3
        or kernel.ndim != 2
        or kernel.shape[0] % 2 == 0
        or kernel.shape[1] != features.shape[2]
    ):
        raise ValueError(
            "features and kernel must be [B, T, D] and [K, D], K odd; "
            f"got {features.shape}, {kernel.shape}"
        )
    return kernel.shape[0] // 2


def _convolved(padded, kernel):
    size = kernel.shape[0]
    length = padded.shape[1] - size + 1
    wide = padded.astype(jnp.float32)
    parts = (
        wide[:, k : k + length] * kernel[k].astype(jnp.float32)[None, None]
        for k in range(size)
    )
    return sum(parts, jnp.zeros_like(wide[:, :length])).astype(padded.dtype)
