"""xPos: rotary positions whose products also fade with distance."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.position.rotary import rotary


def _grown(features, positions, unit, gamma, rotate, sign):
    size = features.shape[-1]
    if unit <= 0.0 or gamma <= 0.0:
        raise ValueError(f"unit and gamma must be positive, got {unit} and {gamma}")
    turned = rotate(features, positions).astype(jnp.float32)
    share = np.arange(0, size, 2) / size
    log_decay = np.log((share + gamma) / (1.0 + gamma)).repeat(2).astype(np.float32)
    power = sign * jnp.asarray(positions).astype(jnp.float32) / unit
    growth = jnp.exp(
        power[..., None, None] * log_decay.reshape((1,) * power.ndim + (1, -1))
    )
    growth = jnp.expand_dims(growth, tuple(range(features.ndim - growth.ndim)))
    return (turned * growth).astype(features.dtype)


def xpos_query(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    unit: float = 512.0,
    gamma: float = 0.4,
    rotate: Callable[..., jax.Array] = rotary,
) -> jax.Array:
    r"""Queries rotated, and multiplied by :math:`\xi_i^{m / u}`.

    .. math:: \xi_i = \frac{2i/H + \gamma}{1 + \gamma} < 1

    The score with `xpos_key` has the factor :math:`\xi_i^{(m - n) / u}` in pair i: it
    fades with the distance to keys before the query and grows beyond it, so it is for
    causal attention only.

    Args:
      features: ``[B, T, N, H]``, H even, in neighbouring pairs.
      positions: ``[T]`` or ``[B, T]``, in tokens.
      unit: u, > 0, tokens.
      gamma: > 0.
      rotate: ``(features, positions) -> features``: `rotary`, or a partial function of
        it.

    Returns:
      ``[B, T, N, H]`` in the dtype of `features`.

    Raises:
      ValueError: if H is odd, the shapes disagree, or a number is not positive.

    Numerics: float32. Factors of queries and keys leave its range beyond about 35000
      tokens from position 0 with the usual numbers; count from the middle if need be.
    Source: Sun et al., https://arxiv.org/abs/2212.10554
    """
    return _grown(features, positions, unit, gamma, rotate, 1.0)


def xpos_key(
    features: jax.Array,
    positions: jax.Array | np.ndarray,
    *,
    unit: float = 512.0,
    gamma: float = 0.4,
    rotate: Callable[..., jax.Array] = rotary,
) -> jax.Array:
    r"""Keys rotated, and multiplied by :math:`\xi_i^{-n / u}`: beside `xpos_query`."""
    return _grown(features, positions, unit, gamma, rotate, -1.0)
