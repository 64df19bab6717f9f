"""Means of power p, from the least through the geometric to the greatest."""

import math

import jax
import jax.numpy as jnp


def generalized_mean(values: jax.Array, *, power: float) -> jax.Array:
    r""":math:`\big(\frac1n \sum_i x_i^p\big)^{1/p}`, increasing in p.

    p = 1 is the arithmetic mean, 0 the geometric, -1 the harmonic; minus and plus
    infinity are the least and the greatest.

    Args:
      values: x ``[n]``, n > 0, positive.
      power: p, any real number or an infinity.

    Returns:
      ``[]`` in the dtype of `values`.

    Raises:
      ValueError: if `values` is empty or not a vector, or `power` is nan.

    Numerics: in logarithms, so no power overflows; near p = 0 by differences from the
    mean of the logarithms, so nothing cancels.
    Source: https://kexue.fm/archives/8870
    """
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values must be [n] with n > 0, got {values.shape}")
    if math.isnan(power):
        raise ValueError("power must be a number, got nan")
    if math.isinf(power):
        return jnp.max(values) if power > 0 else jnp.min(values)
    logs = jnp.log(values)
    middle = jnp.mean(logs)
    if power == 0:
        return jnp.exp(middle)
    apart = power * (logs - middle)
    if abs(power) < 0.1:
        spread = jnp.log1p(jnp.mean(jnp.expm1(apart))) / power
    else:
        spread = (jax.nn.logsumexp(apart) - math.log(values.size)) / power
    return jnp.exp(middle + spread)
