"""Rotary position embedding (RoPE): positions as rotations of pairs of features."""

import jax
import jax.numpy as jnp


def angles(positions: jax.Array, size: int, *, base: float = 10000.0) -> jax.Array:
    r"""Returns the angles :math:`m\,\theta_i`, where :math:`\theta_i = b^{-2i/H}`.

    Args:
      positions: ``[..., T]``, in tokens, integers or floats.
      size: H, even and positive, the features that are rotated.
      base: b, > 0.

    Returns:
      ``[..., T, H / 2]`` float32, in radians.

    Raises:
      ValueError: if `size` is odd or not positive, or `base` is not positive.
    """
    if size < 2 or size % 2:
        raise ValueError(f"rotary features come in pairs, got head size {size}")
    if base <= 0.0:
        raise ValueError(f"base must be positive, got {base}")
    inverse = base ** (-jnp.arange(0, size, 2, dtype=jnp.float32) / size)
    positions = positions.astype(jnp.float32)[..., None]
    return positions * inverse.reshape((1,) * (positions.ndim - 1) + (-1,))


def _rotated(first, second, positions, size, base):
    turn = angles(positions, size, base=base)[..., None, :]
    turn = jnp.expand_dims(turn, range(first.ndim - turn.ndim))
    cosine, sine = jnp.cos(turn), jnp.sin(turn)
    first, second = first.astype(jnp.float32), second.astype(jnp.float32)
    return first * cosine - second * sine, second * cosine + first * sine


def _check(features, positions):
    if features.ndim < 3 or positions.shape not in (
        features.shape[-3:-2],
        features.shape[:-2],
    ):
        raise ValueError(
            "features and positions must be [B, T, N, H] and [T] or [B, T]; "
            f"got {features.shape}, {positions.shape}"
        )


def rotary(
    features: jax.Array, positions: jax.Array, *, base: float = 10000.0
) -> jax.Array:
    r"""Rotates neighbouring features, 2i with 2i + 1, by their position.

    .. math:: (x_{2i} + \mathrm{i}\,x_{2i+1})\, e^{\mathrm{i} m \theta_i}, \quad
              \theta_i = b^{-2i/H}

    The inner product of a query rotated to m and a key rotated to n depends on m - n
    alone, and lengths stay as they were. This is the pairing of the post; models that
    pair halves (`rotary_halves`) need another order of features.

    Args:
      features: ``[B, T, N, H]``, queries or keys, H even.
      positions: ``[T]`` or ``[B, T]``, in tokens.
      base: b, > 0.

    Returns:
      ``[B, T, N, H]`` in the dtype of `features`.

    Raises:
      ValueError: if H is odd, or the shapes disagree.

    Numerics: angles and products are float32 whatever the dtype; the angle of position
      m is then exact to about ``m * 6e-8`` radians.

    Source: https://kexue.fm/archives/8265

    >>> quarter = jnp.array([jnp.pi / 2])
    >>> rotary(jnp.array([[[[1.0, 0.0]]]]), quarter).round(3).tolist()
    [[[[-0.0, 1.0]]]]
    """
    _check(features, positions)
    first, second = features[..., 0::2], features[..., 1::2]
    turned = _rotated(first, second, positions, features.shape[-1], base)
    return jnp.stack(turned, axis=-1).reshape(features.shape).astype(features.dtype)


def rotary_halves(
    features: jax.Array, positions: jax.Array, *, base: float = 10000.0
) -> jax.Array:
    """Rotates feature i with i + H / 2: `rotary` in the order of LLaMA's checkpoints.

    Arguments, result and errors are those of `rotary`, to which it is equal once
    features ``0, 2, 4, ..., 1, 3, 5, ...`` of its input are put in the first and the
    second half.

    Source: https://kexue.fm/archives/8265, with the features in another order.
    """
    _check(features, positions)
    size = features.shape[-1]
    first, second = features[..., : size // 2], features[..., size // 2 :]
    turned = _rotated(first, second, positions, size, base)
    return jnp.concatenate(turned, axis=-1).astype(features.dtype)
