"""Penalties on the gradient of a loss: by its parameters, or by what it reads.

They wrap a loss ``(params, extras, batch, rng) -> loss, (extras, scores)`` of one
number. The loss is evaluated with the same key wherever its gradient is taken, so that
dropout is the same there; extras and scores are those of the loss as it was.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from kexue_jax.losses.leaves import (
    moved,
    read,
    refuse_many,
    safe_norm,
    with_slopes,
)

METHODS = ("reverse", "forward", "difference")


def gradient_penalty(
    loss: Callable,
    *,
    weight: float,
    method: str = "forward",
    radius: float = 1e-2,
) -> Callable:
    r"""Adds :math:`\mu \|\nabla_\theta L\|^2`, the explicit gradient regularisation.

    Gradient descent with a step :math:`\eta` follows, to second order, the flow of the
    loss with such a penalty of weight :math:`\eta / 4`; this adds more of it. The
    gradient of the penalty is :math:`2 \mu H g`.

    Args:
      loss: a loss of one number.
      weight: :math:`\mu`, not negative.
      method: how Hg is found: ``"forward"``, a derivative of the gradient along
        itself, one more pass of about twice the cost; ``"reverse"``, through the
        gradient a second time, for losses without forward derivatives; or
        ``"difference"``, :math:`(\nabla L(\theta + r g) - g) / r`, which needs no
        second derivatives.
      radius: the length of the step :math:`r \|g\|` of ``"difference"``, in units of
        the parameters.

    Returns:
      A loss of the same signature; its scores gain ``gradient_square``.

    Raises:
      ValueError: if a number is out of range or there is no such method; when traced,
        if the loss has parts.

    Numerics: the square in float32. The penalty is not scale-free: that of c L is
      :math:`c^2` times as large. That of a batch is larger, by its noise.

    Source: https://kexue.fm/archives/7787; Barrett and Dherin, arXiv 2009.11162.
    """
    if weight < 0:
        raise ValueError(f"weight must not be negative, got {weight}")
    if radius <= 0:
        raise ValueError(f"radius must be positive, got {radius}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")

    def wrapped(params, extras, batch, rng):
        def plain(params):
            value, rest = loss(params, extras, batch, rng)
            refuse_many("gradient_penalty", value)
            return value, rest

        if method == "reverse":
            gradient, (value, rest) = _gradient(plain, params)
            square = _square(gradient)
        else:
            value, square, rest = _with_product(plain, method, radius, params)
        after, scores = rest
        scores = scores | {"gradient_square": square}
        return value + (weight * square).astype(value.dtype), (after, scores)

    return wrapped


def _gradient(plain, params):
    """The gradient, then the value and what comes with it, all differentiable."""

    def split(params):
        value, rest = plain(params)
        return value, (value, rest)

    return jax.grad(split, has_aux=True)(params)


def _square(tree):
    return optax.tree.norm(
        jax.tree.map(lambda x: x.astype(jnp.float32), tree), squared=True
    )


def _with_product(plain, method, radius, params):
    """Value, squared norm of its gradient, and the rest.

    The derivative of the first is g and of the second 2 H g, both found at once.
    """
    still = jax.lax.stop_gradient(params)
    gradient, (value, rest) = _gradient(plain, still)
    square = _square(gradient)
    slope = lambda at: jax.grad(plain, has_aux=True)(at)[0]  # noqa: E731
    if method == "forward":
        _, product = jax.jvp(slope, (still,), (gradient,))
    else:
        length = jnp.sqrt(jnp.maximum(square, jnp.finfo(jnp.float32).tiny))
        step = radius / length
        ahead = slope(
            jax.tree.map(lambda x, g: x + (step * g).astype(x.dtype), still, gradient)
        )
        product = jax.tree.map(lambda a, b: (a - b) / step, ahead, gradient)
    twice = jax.tree.map(lambda x: 2.0 * x, product)
    value = with_slopes(value, gradient, params)
    return value, with_slopes(square, twice, params), rest


def input_gradient_penalty(
    loss: Callable,
    *,
    weight: float,
    leaf: str = "batch/inputs",
    per: str = "example",
    squared: bool = True,
) -> Callable:
    r"""Adds :math:`\frac{\epsilon}{2} \|\nabla_x L\|^2`, or the norm itself.

    To first order it is adversarial training: squared, that with a step of the gradient
    itself; not squared, :math:`\epsilon \|\nabla_x L\|`, that with a step of length
    :math:`\epsilon`.

    Args:
      loss: a loss of one number; with ``per="example"`` a mean over the batch.
      weight: :math:`\epsilon`, not negative.
      leaf: what is x: a floating entry of the batch, ``batch/inputs``, or of the
        parameters, ``params/embed/table``.
      per: ``"example"``, the mean over the first axis of what each example's own loss
        gives; or ``"whole"``, the norm of all of x together, as for a table of
        embeddings.
      squared: which of the two.

    Returns:
      A loss of the same signature; its scores gain ``input_gradient``, the mean norm.

    Raises:
      ValueError: if `weight` or `per` is out of range; when traced, if there is no such
        leaf, it is not floating, or the loss has parts.

    Numerics: norms in float32, with gradient 0 where they are 0.

    Source: https://kexue.fm/archives/7234.
    """
    if weight < 0:
        raise ValueError(f"weight must not be negative, got {weight}")
    if per not in ("example", "whole"):
        raise ValueError(f"per must be example or whole, got {per!r}")

    def wrapped(params, extras, batch, rng):
        x = read(leaf, params, batch)

        def plain(x):
            value, rest = loss(*moved(leaf, params, extras, batch, x), rng)
            refuse_many("input_gradient_penalty", value)
            return value, (value, rest)

        gradient, (value, (after, scores)) = jax.grad(plain, has_aux=True)(x)
        axes = tuple(range(1, x.ndim)) if per == "example" else None
        scale = x.shape[0] if per == "example" else 1
        norm = safe_norm(gradient * scale, axes)
        square = jnp.sum(jnp.square(gradient.astype(jnp.float32) * scale), axis=axes)
        penalty = 0.5 * jnp.mean(square) if squared else jnp.mean(norm)
        scores = scores | {"input_gradient": jnp.mean(norm)}
        return value + (weight * penalty).astype(value.dtype), (after, scores)

    return wrapped
