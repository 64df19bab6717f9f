"""Stable pieces that all rooms share."""

import math

import jax
import jax.numpy as jnp


def widened(array: jax.Array) -> jax.Array:
    """Returns `array` in float32, or as it is if it is float64."""
    return array if array.dtype == jnp.float64 else array.astype(jnp.float32)


def directions(vectors: jax.Array) -> jax.Array:
    r"""Divides vectors by their Euclidean norms.

    .. math:: x / \|x\|

    Args:
      vectors: ``[..., D]``, any float dtype, finite.

    Returns:
      ``[..., D]`` float32, or wider if `vectors` are. A vector without an entry of
      normal size stays, or becomes, zero.

    Numerics: squares neither overflow nor vanish; gradients at zero vectors are 0.

    >>> directions(jnp.array([[3e30, 4e30], [0.0, 0.0]])).round(6).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = widened(vectors)
    most = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True, initial=0.0)
    most = jax.lax.stop_gradient(most)  # what comes out does not depend on lengths
    some = most >= jnp.finfo(most.dtype).tiny
    vectors = jnp.where(some, vectors, 0.0) / jnp.where(some, most, 1.0)
    square = jnp.sum(jnp.square(vectors), axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.where(some, square, 1.0))


@jax.custom_jvp
def _softmax(scores: jax.Array) -> jax.Array:
    top = jnp.max(scores, axis=-1, keepdims=True, initial=-jnp.inf)
    # An empty row has the top -inf; with 0 instead its weights are exp(-inf) = 0.
    weights = jnp.exp(scores - jnp.where(top > -jnp.inf, top, 0.0))
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total == 0.0, 1.0, total)


@_softmax.defjvp
def _softmax_jvp(primals, tangents):
    (weights,), (change,) = map(_softmax, primals), tangents
    mean = jnp.sum(weights * change, axis=-1, keepdims=True)
    return weights, weights * (change - mean)


def masked_softmax(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Softmax over the last axis, of the entries that `mask` keeps.

    Args:
      scores: ``[..., S]``, any float dtype; -inf also hides an entry.
      mask: bool, broadcastable to the shape of `scores`; True keeps an entry.

    Returns:
      ``[..., S]`` float32 (float64 if `scores` are). A row sums to 1, or is all zeros
      where nothing is kept.

    Raises:
      ValueError: if `mask` is not bool or has a shape that `scores` cannot take.

    Numerics: float32, or wider if `scores` are. Hidden entries, and rows in which all
      are hidden, have zero gradients, also where their scores are infinite or nan.
    """
    if mask is not None and (
        mask.dtype != jnp.bool_
        or mask.ndim > scores.ndim
        or any(
            m not in (1, s)
            for m, s in zip(mask.shape[::-1], scores.shape[::-1], strict=False)
        )
    ):
        raise ValueError(
            f"mask must be bool and broadcast to {scores.shape}, got "
            f"{mask.dtype} {mask.shape}"
        )
    scores = widened(scores)
    if mask is not None:
        mask = jnp.expand_dims(mask, range(scores.ndim - mask.ndim))
        scores = jnp.where(mask, scores, -jnp.inf)
    return _softmax(scores)


def taylor_exp_minimum(order: int) -> tuple[float, float]:
    r"""Where the Taylor polynomial of exp of an even order is least, and how much.

    .. math:: f_n(x) = \sum_{k \le n} \frac{x^k}{k!}, \quad f_n' = f_{n-1}, \quad
              f_{n-1}(x_n) = 0 \Rightarrow f_n(x_n) = \frac{x_n^n}{n!} > 0

    Args:
      order: n, even and at least 2.

    Returns:
      :math:`x_n < 0` and :math:`f_n(x_n) > 0`, as floats.

    Raises:
      ValueError: if `order` is odd or below 2.

    Source: https://kexue.fm/archives/7919
    """
    if order < 2 or order % 2:
        raise ValueError(
            f"order must be even and at least 2, got {order}: polynomials of odd order "
            "are negative somewhere"
        )
    low, high = -float(order), 0.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        slope = math.fsum(middle**k / math.factorial(k) for k in range(order))
        low, high = (middle, high) if slope < 0.0 else (low, middle)
    return low, low**order / math.factorial(order)


def taylor_exp(inputs: jax.Array, *, order: int = 2) -> jax.Array:
    r"""Taylor polynomial of exp around 0, positive everywhere as its order is even.

    .. math:: f_n(x) = \sum_{k=0}^{n} \frac{x^k}{k!}

    It falls to the left of its minimum (`taylor_exp_minimum`), so large negative inputs
    give large results.

    Args:
      inputs: any shape, any float dtype.
      order: n, even and at least 2.

    Returns:
      The shape of `inputs`; float32, or wider if `inputs` are.

    Raises:
      ValueError: if `order` is odd or below 2.

    Numerics: overflows where :math:`x^n / n!` does; `log_taylor_exp` does not. Near the
      minimum the sum cancels: in float32 the relative error is below 1e-5 up to order
      8, and 1e-4 at order 12; the result is never below the exact minimum.

    Source: https://kexue.fm/archives/7919

    >>> taylor_exp(jnp.array([-10.0, -1.0, 0.0, 2.0])).tolist()
    [41.0, 0.5, 1.0, 5.0]
    """
    _, least = taylor_exp_minimum(order)
    inputs = widened(inputs)
    total = jnp.ones_like(inputs)
    for k in reversed(range(1, order + 1)):
        total = total * inputs / k + 1.0
    return jnp.maximum(total, least)


def log_taylor_exp(inputs: jax.Array, *, order: int = 2) -> jax.Array:
    r"""Logarithm of `taylor_exp`, finite for all finite inputs.

    Its slope is :math:`f_{n-1} / f_n`. Arguments, result, errors and precision are
    those of `taylor_exp`; far from 0 the largest power is taken out of the sum, so that
    nothing overflows.
    """
    inputs = widened(inputs)
    near = jnp.abs(inputs) <= 64.0  # there the sum is below exp(64)
    close = jnp.log(taylor_exp(jnp.where(near, inputs, 0.0), order=order))
    far = jnp.where(near, 64.0, inputs)
    inverse, total, fade = 1.0 / far, jnp.ones_like(far), jnp.ones_like(far)
    for k in reversed(range(order)):
        fade = fade * inverse * (k + 1)
        total = total + fade
    beyond = order * jnp.log(jnp.abs(far)) - math.lgamma(order + 1) + jnp.log(total)
    return jnp.where(near, close, beyond)
