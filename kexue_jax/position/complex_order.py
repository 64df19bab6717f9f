"""Complex order: every feature of a word is a wave over positions."""

import jax
import jax.numpy as jnp
import numpy as np


def complex_order(
    amplitudes: jax.Array,
    phases: jax.Array,
    frequencies: jax.Array | np.ndarray,
    positions: jax.Array | np.ndarray,
) -> jax.Array:
    r"""Complex features of words at their positions.

    .. math:: r\,e^{\mathrm{i}\,(\omega k + \varphi)}

    for each feature of each word. They are made for a network of complex numbers. With
    frequencies that words share, :math:`\mathrm{Re}(z_m \bar z_n)` depends on positions
    by m - n alone; with r = 1 and :math:`\varphi = 0` for all words, imaginary and real
    parts are the sines and cosines of `sinusoidal`.

    Args:
      amplitudes: r, ``[B, T, D]``, rows of a table looked up by word.
      phases: :math:`\varphi`, broadcastable to ``[B, T, D]``, in radians.
      frequencies: :math:`\omega`, broadcastable to ``[B, T, D]``, in radians per token.
      positions: k, ``[T]`` or ``[B, T]``, in tokens.

    Returns:
      ``[B, T, D]`` complex64.

    Raises:
      ValueError: if the shapes disagree, or an array is not of rank 3.

    Numerics: angles are float32, exact to about ``k * omega * 6e-8`` radians.
    Source: Wang et al., https://arxiv.org/abs/1912.12333;
      https://kexue.fm/archives/8130
    """
    shape = amplitudes.shape
    for name, array in (("phases", phases), ("frequencies", frequencies)):
        if array.ndim != 3 or any(
            a not in (1, s) for a, s in zip(array.shape, shape, strict=True)
        ):
            raise ValueError(f"{name} must broadcast to {shape}, got {array.shape}")
    if len(shape) != 3 or positions.shape not in (shape[1:2], shape[:2]):
        raise ValueError(
            "amplitudes and positions must be [B, T, D] and [T] or [B, T]; "
            f"got {shape}, {positions.shape}"
        )
    place = jnp.asarray(positions).astype(jnp.float32)[..., None]
    place = jnp.expand_dims(place, tuple(range(3 - place.ndim)))
    turn = jnp.asarray(frequencies, jnp.float32) * place + phases.astype(jnp.float32)
    radius = amplitudes.astype(jnp.float32)
    return jax.lax.complex(radius * jnp.cos(turn), radius * jnp.sin(turn))
