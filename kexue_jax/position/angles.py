"""Angles of positions, exact on the host and float32 where positions are traced."""

import jax
import jax.numpy as jnp
import numpy as np


def angles(
    positions: jax.Array | np.ndarray,
    size: int,
    *,
    base: float = 10000.0,
    frequencies: jax.Array | np.ndarray | None = None,
) -> jax.Array | np.ndarray:
    r"""Returns the angles :math:`m\,\theta_i`, where :math:`\theta_i = b^{-2i/H}`.

    Args:
      positions: ``[..., T]``, in tokens, integers or floats.
      size: H, even and positive, the features that share the angles in pairs.
      base: b, > 0; not looked at if there are `frequencies`.
      frequencies: ``[H / 2]``, other :math:`\theta_i`, in radians per token.

    Returns:
      ``[..., T, H / 2]`` in radians: a NumPy array of float64 if `positions` is a
      NumPy array and `frequencies` is none of jax's, a jax array of float32 otherwise.

    Raises:
      ValueError: if `size` is odd or not positive, `base` is not positive, or
        `frequencies` has another shape.

    Numerics: in float32 the angle of position m is exact to about ``m * 6e-8``
      radians, in float64 to ``m * 1e-16``.
    """
    if size < 2 or size % 2:
        raise ValueError(f"rotary features come in pairs, got head size {size}")
    if frequencies is None and base <= 0.0:
        raise ValueError(f"base must be positive, got {base}")
    if frequencies is not None and frequencies.shape != (size // 2,):
        raise ValueError(
            f"frequencies must be [{size // 2}] for {size} features, "
            f"got {frequencies.shape}"
        )
    if isinstance(positions, np.ndarray) and not isinstance(frequencies, jax.Array):
        if frequencies is None:
            frequencies = base ** (-np.arange(0, size, 2) / size)
        return positions.astype(np.float64)[..., None] * frequencies
    if frequencies is None:
        inverse = base ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    else:
        inverse = jnp.asarray(frequencies, jnp.float32)
    positions = jnp.asarray(positions).astype(jnp.float32)[..., None]
    return positions * inverse.reshape((1,) * (positions.ndim - 1) + (-1,))


def cosine_and_sine(turn: jax.Array | np.ndarray) -> tuple[jax.Array, jax.Array]:
    """Cosines and sines in float32; those of a NumPy array are found in float64."""
    if isinstance(turn, np.ndarray):
        return jnp.asarray(np.cos(turn), "float32"), jnp.asarray(
            np.sin(turn), "float32"
        )
    return jnp.cos(turn), jnp.sin(turn)
