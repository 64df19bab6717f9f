"""Scales that layers of a homogeneous network trade without changing what it does."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax.numerics import widened


class Layer(NamedTuple):
    """A kernel ``[..., in, out]`` and a bias ``[out]``, or None."""

    kernel: jax.Array
    bias: jax.Array | None = None


def scale_layers(layers: Sequence[Layer], factors: jax.Array) -> list[Layer]:
    r"""Multiplies kernels by factors and biases by the factors up to their layer.

    .. math:: W_l \to \gamma_l W_l, \qquad b_l \to (\gamma_1 \cdots \gamma_l)\, b_l

    With positive factors whose product is 1 a network of these layers, with an
    activation :math:`\phi(cx) = c\,\phi(x)` between them (ReLU, leaky ReLU, none,
    maxima), computes what it did before. In general its output is multiplied by their
    product.

    Args:
      layers: from the input to the output, L of them.
      factors: ``[L]``, positive.

    Returns:
      The layers, in their dtypes.

    Raises:
      ValueError: if there are not as many factors as layers.

    Source: https://kexue.fm/archives/7681, which multiplies a bias by the factor of its
      own layer alone; the function then changes.

    >>> ones = Layer(jnp.ones((1, 1)), jnp.ones(1))
    >>> first, second = scale_layers([ones, ones], jnp.array([4.0, 0.25]))
    >>> [float(x[0]) for x in (first.bias, second.bias)]
    [4.0, 1.0]
    """
    factors = jnp.asarray(factors)
    if factors.shape != (len(layers),):
        raise ValueError(
            f"factors must have the shape ({len(layers)},), got {factors.shape}"
        )
    reach = jnp.cumprod(widened(factors))

    def scaled(x, factor):
        return None if x is None else (widened(x) * factor).astype(x.dtype)

    return [
        Layer(scaled(layer.kernel, factors[place]), scaled(layer.bias, reach[place]))
        for place, layer in enumerate(layers)
    ]


def balancing_factors(layers: Sequence[Layer]) -> jax.Array:
    r"""Returns the factors that give every kernel the same norm.

    Theirs is then the geometric mean of the norms, and the sum of their squares,
    :math:`L \prod_l \|W_l\|^{2/L}`, the least that scaling can reach.

    Args:
      layers: as in `scale_layers`.

    Returns:
      ``[L]`` float32 or wider, with the product 1; ones where a kernel is zero.

    Source: https://kexue.fm/archives/7681
    """
    squares = jnp.stack([jnp.sum(jnp.square(widened(x.kernel))) for x in layers])
    some = jnp.all(squares > 0)
    logs = 0.5 * jnp.log(jnp.where(some, squares, 1.0))
    return jnp.exp(jnp.mean(logs) - logs)


def weissi(
    kernel: jax.Array, *, norm: float, direction: float, floor: float, stacked: int = 0
) -> jax.Array:
    r"""Returns :math:`\lambda_1 \log\|W\| + \lambda_2 \|W / \|W\|\,\|_1` of a kernel.

    The slope of the first term along W is :math:`\lambda_1` whatever the scale of W,
    that of the second is 0: no shift of scale between layers lowers their sum.

    Args:
      kernel: W, floating.
      norm, direction: the coefficients.
      floor: norms below it count as it, so that W may pass through 0.
      stacked: how many leading axes count layers, each with a norm of its own.

    Returns:
      ``[]``, the sum over stacked layers, float32 or wider.

    Numerics: finite with its gradient everywhere; at 0 the gradient is 0.

    Source: https://kexue.fm/archives/7681; Liu et al., arXiv 2008.02965.
    """
    wide = widened(kernel)
    axes = tuple(range(stacked, wide.ndim))
    square = jnp.sum(jnp.square(wide), axis=axes)
    square = jnp.maximum(square, floor**2)
    signs = jax.lax.stop_gradient(jnp.sign(wide))  # the slope of abs at 0 would be 1
    total = jnp.sum(signs * wide, axis=axes)
    return jnp.sum(0.5 * norm * jnp.log(square) + direction * total / jnp.sqrt(square))
