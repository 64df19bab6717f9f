"""Activations that jax.nn lacks, or has in one form only."""

import math

import jax
import jax.numpy as jnp


def squared_relu(features: jax.Array) -> jax.Array:
    """Returns ``max(x, 0) ** 2`` in the dtype of `features`.

    Source: So et al., Primer, https://arxiv.org/abs/2109.08668
    """
    return jnp.square(jax.nn.relu(features))


def gelu(features: jax.Array) -> jax.Array:
    r"""The Gaussian error linear unit itself, :math:`x\,\Phi(x)`.

    .. math:: \frac{x}{2}\,\mathrm{erfc}\Big(-\frac{x}{\sqrt 2}\Big)

    This is what BERT and the defaults of torch and TensorFlow mean; the defaults of
    `jax.nn.gelu` and of GPT-2 mean `gelu_tanh`, and differ by up to 4.7e-4.

    Args:
      features: any shape, float.

    Returns:
      The same shape and dtype; at least -0.16998, which is reached at -0.75179.

    Numerics: float32 inside whatever the dtype. By erfc the left tail has no
      cancellation, and gradients are finite at all finite inputs.
    Source: Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415;
      https://kexue.fm/archives/7309
    """
    x = features.astype(jnp.float32)
    return (0.5 * x * jax.lax.erfc(-x / math.sqrt(2.0))).astype(features.dtype)


def gelu_tanh(features: jax.Array, *, cubic: float = 0.044715) -> jax.Array:
    r"""`gelu` with a tanh of a cubic in place of the error function.

    .. math:: \frac{x}{2}\Big(1 + \tanh\big(\sqrt{2 / \pi}\,(x + c\,x^3)\big)\Big)

    The slope at 0 is that of the error function, and c makes the greatest distance to
    it least; matching the third derivative too would be :math:`(4 - \pi) / (6 \pi)
    = 0.04554`. `activation_constants` derives both.

    Args:
      features: any shape, float.
      cubic: c.

    Returns:
      The same shape and dtype, within 4.8e-4 of `gelu`.

    Numerics: float32 inside whatever the dtype; the cubic is taken of x cut to 20, so
      that it cannot overflow, where tanh has long reached 1.
    Source: https://kexue.fm/archives/7309
    """
    slope = math.sqrt(8.0 / math.pi)
    return _gated(features, slope, cubic * slope)


def gelu_minimax(
    features: jax.Array, *, linear: float = 1.597603, cubic: float = 0.0705641
) -> jax.Array:
    r"""`gelu` with the best logistic function of an odd cubic.

    .. math:: x\,\sigma(a x + b x^3)

    Both numbers make the greatest distance of the logistic function to :math:`\Phi`
    least: 1.4031e-4, against 1.7893e-4 of `gelu_tanh`, which is the same function with
    a held at :math:`\sqrt{8 / \pi}`.

    Args:
      features: any shape, float.
      linear, cubic: a and b.

    Returns:
      The same shape and dtype, within 3.9e-4 of `gelu`.

    Numerics: as `gelu_tanh`.
    Source: the post https://kexue.fm/archives/7309 stops at one number; two are in
      Bowling et al., 2009, rounded to 1.5976 and 0.07056.
    """
    return _gated(features, linear, cubic)


def gelu_sigmoid(features: jax.Array, *, slope: float = 1.702) -> jax.Array:
    r"""`gelu` with a plain logistic function, :math:`x\,\sigma(\lambda x)`.

    Args:
      features: any shape, float.
      slope: :math:`\lambda`; 1.702 makes the greatest distance of the logistic function
        to :math:`\Phi` least. With 1 it is the Swish.

    Returns:
      The same shape and dtype, within 0.0204 of `gelu`.

    Numerics: float32 inside whatever the dtype.
    Source: https://kexue.fm/archives/7309
    """
    return _gated(features, slope, 0.0)


def _gated(features, linear, cubic):
    x = features.astype(jnp.float32)
    inner = linear * x
    if cubic:
        inner = inner + cubic * jnp.clip(x, -20.0, 20.0) ** 3
    return (x * jax.nn.sigmoid(inner)).astype(features.dtype)


@jax.custom_jvp
def _hypotenuse(x, b):
    """The root of x squared plus b, without overflow."""
    leg = jnp.sqrt(b)
    longer = jnp.maximum(jnp.abs(x), leg)
    shorter = jnp.minimum(jnp.abs(x), leg)
    return longer * jnp.sqrt(1.0 + jnp.square(shorter / longer))


@_hypotenuse.defjvp
def _hypotenuse_jvp(primals, tangents):
    (x, b), (dx, db) = primals, tangents
    root = _hypotenuse(x, b)
    return root, x / root * dx + 0.5 / root * db


@jax.custom_jvp
def _squareplus(x, b):
    root = _hypotenuse(x, b)
    # For x < 0 the sum cancels, and (x + r) / 2 = (b / 2) / (r - x). Halves first: the
    # sum of two large numbers could overflow.
    below = 0.5 * b / (root - jnp.minimum(x, 0.0))
    return jnp.where(x < 0.0, below, 0.5 * x + 0.5 * root)


@_squareplus.defjvp
def _squareplus_jvp(primals, tangents):
    (x, b), (dx, db) = primals, tangents
    value, root = _squareplus(x, b), _hypotenuse(x, b)
    return value, value / root * dx + 0.25 / root * db


@jax.custom_jvp
def _algebraic_swish(x, b):
    return x / _hypotenuse(x, b) * _squareplus(x, b)


@_algebraic_swish.defjvp
def _algebraic_swish_jvp(primals, tangents):
    (x, b), (dx, db) = primals, tangents
    root = _hypotenuse(x, b)
    cosine = x / root
    slope = _squareplus(x, b) / root + 0.5 * (b / root) / root * cosine
    by_b = -0.25 * jnp.square(cosine) / root
    return _algebraic_swish(x, b), slope * dx + by_b * db


def _check_b(b):
    if isinstance(b, float | int) and b <= 0.0:
        raise ValueError(f"b must be positive, got {b}")
    return jnp.asarray(b, jnp.float32)


def squareplus(features: jax.Array, b: float | jax.Array = 4.0) -> jax.Array:
    r"""A smooth ReLU without exponentials.

    .. math:: \frac{x + \sqrt{x^2 + b}}{2}

    It is increasing, convex, and between ReLU and ReLU plus :math:`\sqrt b / 2`. Its
    tail at the left is :math:`b / (4 |x|)`, much heavier than that of SoftPlus.

    Args:
      features: any shape, float.
      b: > 0; a number, or an array of as many axes as `features` or none.
        4 has the curvature of SoftPlus at 0, :math:`4 \ln^2 2 = 1.9218` is the least
        for which the curve is nowhere below SoftPlus, and 1.5238 is nearest to it.

    Returns:
      The same shape and dtype, not negative.

    Raises:
      ValueError: if `b` is a number that is not positive.

    Numerics: float32 inside whatever the dtype. Nothing cancels in the left tail and
      nothing overflows; the gradient is 0 at -1e30 and 1 at 1e30, where that of
      `jax.nn.squareplus` is 1/2.

    Source: Barron, https://arxiv.org/abs/2112.11687; https://kexue.fm/archives/8833

    >>> squareplus(jnp.array([-3.0, 0.0, 3.0]), 16.0).tolist()
    [1.0, 2.0, 4.0]
    """
    b = _check_b(b)
    return _squareplus(features.astype(jnp.float32), b).astype(features.dtype)


def inverse_squareplus(values: jax.Array, b: float | jax.Array = 4.0) -> jax.Array:
    r"""The x whose `squareplus` is y: :math:`y - b / (4 y)`.

    Args:
      values: y, any shape, positive.
      b: > 0, as in `squareplus`.

    Returns:
      The same shape and dtype.

    Raises:
      ValueError: if `b` is a number that is not positive.
    """
    b = _check_b(b)
    wide = values.astype(jnp.float32)
    return (wide - 0.25 * b / wide).astype(values.dtype)


def algebraic_swish(features: jax.Array, b: float | jax.Array = 2.043) -> jax.Array:
    r"""What SquarePlus is to SoftPlus, to the Swish: x times its derivative.

    .. math:: \frac{x}{2} \Big(1 + \frac{x}{\sqrt{x^2 + b}}\Big)

    Args:
      features: any shape, float.
      b: > 0; 2.043 is nearest to the Swish, within 0.0668.

    Returns:
      The same shape and dtype.

    Raises:
      ValueError: if `b` is a number that is not positive.

    Numerics: as `squareplus`.
    Source: not in https://kexue.fm/archives/8833; the Swish is x times the derivative
      of SoftPlus.
    """
    b = _check_b(b)
    return _algebraic_swish(features.astype(jnp.float32), b).astype(features.dtype)
