"""Sinusoidal positions: a fixed vector for every position, to be added to features."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.position.angles import angles, cosine_and_sine


def sinusoidal(
    positions: jax.Array | np.ndarray,
    *,
    size: int,
    base: float = 10000.0,
    frequencies: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    r"""The sine and the cosine of each frequency, side by side.

    .. math:: p_{k, 2i} = \sin(k\,\theta_i), \quad p_{k, 2i+1} = \cos(k\,\theta_i),
              \quad \theta_i = b^{-2i/D}

    The inner product of two depends on the difference of their positions alone, and
    is D / 2 at difference 0.

    Args:
      positions: ``[..., T]``, in tokens, integers or floats. Those of a NumPy array are
        known before the program runs, and their table is made on the host.
      size: D, even.
      base: b, > 0; not looked at if there are `frequencies`.
      frequencies: ``[D / 2]``, other :math:`\theta_i`, in radians per token.

    Returns:
      ``[..., T, D]`` float32.

    Raises:
      ValueError: if `size` is odd or not positive, `base` is not positive, or
        `frequencies` has another shape.

    Numerics: angles are float32, exact to about ``k * 6e-8`` radians, or float64 where
      `positions` is a NumPy array.

    Source: Vaswani et al., https://arxiv.org/abs/1706.03762;
      https://kexue.fm/archives/8231

    >>> quarter = np.array([np.pi / 2])
    >>> abs(sinusoidal(np.arange(3), size=2, frequencies=quarter)).round(3).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    turn = angles(positions, size, base=base, frequencies=frequencies)
    cosine, sine = cosine_and_sine(turn)
    return jnp.stack([sine, cosine], axis=-1).reshape(*turn.shape[:-1], size)


def sinusoidal_halves(
    positions: jax.Array | np.ndarray,
    *,
    size: int,
    base: float = 10000.0,
    frequencies: jax.Array | np.ndarray | None = None,
) -> jax.Array:
    """`sinusoidal` with all sines first and then all cosines.

    This is the order of tensor2tensor and of Transformer-XL. Arguments, result and
    errors are those of `sinusoidal`.
    """
    turn = angles(positions, size, base=base, frequencies=frequencies)
    cosine, sine = cosine_and_sine(turn)
    return jnp.concatenate([sine, cosine], axis=-1)
