"""Feature maps: what linear attention makes of a query or a key.

A feature map is a function of ``[..., H]`` that returns ``[..., M]``, or, where its
features can under- or overflow, `ScaledFeatures`: features and the logarithm of a
factor that belongs to all features of a row. Two rows are as similar as their features'
inner product says; H is the head size, M the number of features.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TAYLOR_LIMIT = 16384  # features; head size 64 and order 2 make 2145


class ScaledFeatures(NamedTuple):
    """Features ``values * exp(log_scale)``, with the factor kept as a logarithm.

    Linear attention drops the factor of a query, which cancels, and compares that of a
    key with the largest one of the keys seen so far, so that neither can overflow and
    nothing has to be known of later keys.

    Attributes:
      values: ``[..., M]`` float32.
      log_scale: ``[..., 1]`` float32, finite; None stands for zeros.
    """

    values: jax.Array
    log_scale: jax.Array | None = None

    def product(self) -> jax.Array:
        """Returns the features themselves, which may overflow: ``[..., M]``."""
        if self.log_scale is None:
            return self.values
        return self.values * jnp.exp(self.log_scale)


FeatureMap = Callable[[jax.Array], jax.Array | ScaledFeatures]


def stable_exp(exponents: jax.Array) -> ScaledFeatures:
    """Returns the exponentials of a row, divided by the largest of them.

    Args:
      exponents: ``[..., M]``, finite.

    Returns:
      `ScaledFeatures` of ``[..., M]``; the largest value of every row is 1.

    Numerics: the gradient flows through the values alone, as a factor that all features
      of a row share and get back changes nothing.
    """
    exponents = exponents.astype(jnp.float32)
    top = jax.lax.stop_gradient(jnp.max(exponents, axis=-1, keepdims=True))
    return ScaledFeatures(jnp.exp(exponents - top), top)


def elu_plus_one(features: jax.Array) -> jax.Array:
    r"""Returns :math:`x + 1` where x > 0 and :math:`e^x` elsewhere.

    Positive everywhere and with one derivative, and near :math:`e^x` around 0, whose
    first-order expansion is 1 + x.

    Args:
      features: ``[..., H]``.

    Returns:
      ``[..., H]`` float32, M = H.

    Numerics: never 0 above x = -87; a row in which all is below that has no weight.

    Source: https://kexue.fm/archives/7546

    >>> print(elu_plus_one(jnp.array([0.0, 2.0, 0.5])))
    [1.  3.  1.5]
    """
    x = features.astype(jnp.float32)
    # A minimum would halve the derivative at 0, where both sides have 1.
    return jnp.where(x > 0.0, x + 1.0, jnp.exp(jnp.where(x > 0.0, 0.0, x)))


def exp_features(features: jax.Array) -> ScaledFeatures:
    r"""Returns :math:`e^x`, each row divided by its largest feature.

    Args:
      features: ``[..., H]``, finite.

    Returns:
      `ScaledFeatures` of ``[..., H]``, M = H.

    Source: https://kexue.fm/archives/8601, with the largest exponent kept apart.
    """
    return stable_exp(features)


def relu_features(
    features: jax.Array, projection: jax.Array | None = None, *, eps: float = 1e-3
) -> jax.Array:
    r"""Returns :math:`\max(W x, 0) + \epsilon`, the map of generalised attention.

    Args:
      features: ``[..., H]``.
      projection: W, ``[M, H]``; None leaves x as it is, M = H.
      eps: > 0, so that no row loses all its weight; at 0 such rows give zeros.

    Returns:
      ``[..., M]`` float32, at least `eps`.

    Raises:
      ValueError: if `projection` does not fit, or `eps` is negative.

    Source: https://kexue.fm/archives/7921, with the defaults of Google's code.
    """
    if eps < 0.0:
        raise ValueError(f"eps must not be negative, got {eps}")
    x = features.astype(jnp.float32)
    if projection is not None:
        x = projected(x, projection)
    return jax.nn.relu(x) + eps


def projected(features: jax.Array, projection: jax.Array) -> jax.Array:
    """Returns the inner products of rows of `features` with rows of `projection`.

    Args:
      features: ``[..., H]``.
      projection: ``[M, H]``.

    Returns:
      ``[..., M]`` float32.

    Raises:
      ValueError: if `projection` is not ``[M, H]``.

    Numerics: multiplied in full float32 on every device, as the products may become
      exponents, whose error is the relative error of a feature.
    """
    if projection.ndim != 2 or projection.shape[1] != features.shape[-1]:
        raise ValueError(
            f"projection must be [M, H] with H = {features.shape[-1]}, "
            f"got {projection.shape}"
        )
    return jnp.einsum(
        "...h,mh->...m",
        features.astype(jnp.float32),
        projection.astype(jnp.float32),
        precision=jax.lax.Precision.HIGHEST,
    )


def cosine_features(features: jax.Array) -> jax.Array:
    r"""Returns :math:`[1, x / \|x\|]`, whose inner products are 1 plus a cosine.

    The similarity is never negative although the features can be, and it is the same
    if query and key are turned by the same rotation.

    Args:
      features: ``[..., H]``, finite.

    Returns:
      ``[..., 1 + H]`` float32; a row of zeros has no direction and gives ``[1, 0]``.

    Numerics: rows are divided by their largest entry before they are squared, so that
      no size of them under- or overflows; the gradient at a row of zeros is 0.

    Source: https://kexue.fm/archives/7546

    >>> print(cosine_features(jnp.array([0.0, -4.0])))
    [ 1.  0. -1.]
    """
    x = features.astype(jnp.float32)
    top = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    x = jnp.where(top > 0.0, x / jnp.where(top > 0.0, top, 1.0), 0.0)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    direction = x * jax.lax.rsqrt(jnp.where(top > 0.0, square, 1.0))
    return jnp.concatenate([jnp.ones_like(top), direction], axis=-1)


def taylor_features(features: jax.Array, *, order: int = 2) -> jax.Array:
    r"""Returns monomials whose inner product is an expansion of the exponential.

    .. math:: \phi(x)_a = \prod_i \frac{x_i^{a_i}}{\sqrt{a_i!}}, \quad
              \phi(x) \cdot \phi(y) = \sum_{d \le n} \frac{(x \cdot y)^d}{d!}

    One feature for every tuple a of exponents with a sum of at most n, which are far
    fewer than the entries of the tensor powers. For even n the sum is positive.

    Args:
      features: ``[..., H]``; for Taylor softmax multiply by ``H ** -0.25`` before.
      order: n, even and positive.

    Returns:
      ``[..., M]`` float32 with M = (H + n)! / (H! n!), for n = 2 that is
      1 + H + H (H + 1) / 2; by degree, then in lexical order of the factors.

    Raises:
      ValueError: if `order` is not even and positive, or M is above 16384.

    Numerics: a similarity of nearly 0 between large vectors is the small rest of large
      terms of both signs, exact to ``6e-8 * exp(|x . y|)``.

    Source: https://kexue.fm/archives/8601 and https://kexue.fm/archives/7919, with
      every monomial once.

    >>> x, y = jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0])
    >>> dot = jnp.dot(taylor_features(x), taylor_features(y))
    >>> print(dot.round(2), 1 + 5 + 5**2 / 2)
    18.5 18.5
    """
    size = features.shape[-1]
    if order < 2 or order % 2:
        raise ValueError(
            "order must be even and positive, as odd expansions become negative; "
            f"got {order}"
        )
    count = math.comb(size + order, order)
    if count > TAYLOR_LIMIT:
        raise ValueError(
            f"order {order} of head size {size} makes {count} features, "
            f"more than {TAYLOR_LIMIT}"
        )
    x = features.astype(jnp.float32)
    degree = jnp.ones_like(x[..., :1])
    degrees = [degree]
    for n in range(1, order + 1):
        # Monomials in lexical order: those without x_0 ... x_{i-1} are the last ones.
        ends = [math.comb(size - i + n - 2, n - 1) for i in range(size)]
        ends = [degree.shape[-1] - end for end in ends]
        pieces = [x[..., i, None] * degree[..., end:] for i, end in enumerate(ends)]
        degree = jnp.concatenate(pieces, axis=-1)
        degrees.append(degree)
    weights = [_taylor_weights(size, n) for n in range(order + 1)]
    weights = jnp.asarray(np.concatenate(weights), jnp.float32)
    flat = jnp.concatenate(degrees, axis=-1)
    return flat * weights.reshape((1,) * (flat.ndim - 1) + (-1,))


def _taylor_weights(size, degree):
    """Returns 1 / sqrt(prod a_i!) of all monomials of a degree, in lexical order."""
    factors = itertools.combinations_with_replacement(range(size), degree)
    runs = ([len(list(run)) for _, run in itertools.groupby(f)] for f in factors)
    return [1.0 / math.sqrt(math.prod(map(math.factorial, run))) for run in runs]
