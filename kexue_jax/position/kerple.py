"""KERPLE: biases that are conditionally positive definite kernels of distance."""

import jax
import jax.numpy as jnp

from kexue_jax.position.relative import relative_positions


def _distances(query_positions, key_positions, slope, rate):
    if slope.ndim != 1 or rate.shape != slope.shape:
        raise ValueError(
            f"both parameters must be [N]; got {slope.shape}, {rate.shape}"
        )
    distance = jnp.abs(relative_positions(query_positions, key_positions))
    parameters = (x.astype(jnp.float32)[None, :, None, None] for x in (slope, rate))
    return distance.astype(jnp.float32)[:, None], *parameters


def kerple_log_bias(
    slope: jax.Array,
    rate: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
) -> jax.Array:
    r"""A logarithmic penalty on distance, to be added before the softmax.

    .. math:: -r_1 \ln(1 + r_2\,|i - j|)

    Args:
      slope: ``[N]``, :math:`r_1` > 0 of each head.
      rate: ``[N]``, :math:`r_2` > 0 of each head; keep both positive by an exp or a
        softplus of what is trained.
      query_positions: ``[T]`` or ``[B, T]``, i, in tokens.
      key_positions: ``[S]`` or ``[B, S]``, j, in tokens.

    Returns:
      ``[1 or B, N, T, S]`` float32.

    Raises:
      ValueError: if the shapes disagree.

    Source: Chi et al., https://arxiv.org/abs/2205.09921
    """
    distance, slope, rate = _distances(query_positions, key_positions, slope, rate)
    return -slope * jnp.log1p(rate * distance)


def kerple_power_bias(
    slope: jax.Array,
    power: jax.Array,
    query_positions: jax.Array,
    key_positions: jax.Array,
) -> jax.Array:
    r"""A power of distance as penalty, to be added before the softmax.

    .. math:: -r_1\,|i - j|^{r_2}

    With :math:`r_2 = 1` it is `alibi_bias`. Arguments, result and errors are those of
    `kerple_log_bias`; `power` is :math:`r_2`, above 0 and at most 2.

    Numerics: the gradient of the power is 0 at distance 0.
    Source: Chi et al., https://arxiv.org/abs/2205.09921
    """
    distance, slope, power = _distances(query_positions, key_positions, slope, power)
    apart = distance > 0.0
    raised = jnp.where(apart, distance, 1.0) ** power
    return -slope * jnp.where(apart, raised, 0.0)
