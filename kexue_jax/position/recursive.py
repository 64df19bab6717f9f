"""Recursive positions: each is made from the one before, in steps or continuously."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def recursive(
    step: Callable[[jax.Array], jax.Array], initial: jax.Array, *, length: int
) -> jax.Array:
    r"""Positions by recursion, :math:`p_{k+1} = f(p_k)`.

    Args:
      step: f, from and to the shape and dtype of `initial`; its parameters are in it.
      initial: :math:`p_0`, ``[..., D]``.
      length: L >= 1, how many positions.

    Returns:
      ``[..., L, D]`` in the dtype of `initial`, whose first is `initial`.

    Raises:
      ValueError: if `length` is not positive.

    Source: https://kexue.fm/archives/8130
    """
    if length < 1:
        raise ValueError(f"length must be positive, got {length}")

    def advance(position, _):
        return step(position), position

    _, positions = jax.lax.scan(advance, initial, length=length)
    return jnp.moveaxis(positions, 0, -2)


def flow(
    field: Callable[[jax.Array, jax.Array], jax.Array],
    initial: jax.Array,
    *,
    length: int,
    steps: int = 8,
) -> jax.Array:
    r"""Positions along a flow, at the times 0, 1, 2, ...

    .. math:: \frac{\mathrm{d} p}{\mathrm{d} t} = h(t, p), \quad p(0) = p_0

    solved by Runge and Kutta's method of fourth order. It is the recursion of
    `recursive` in continuous time, so that positions between whole ones mean something.

    Args:
      field: h, from a scalar float32 time and the shape of `initial` to that shape;
        its parameters are in it.
      initial: :math:`p_0`, ``[..., D]`` float32.
      length: L >= 1, how many positions.
      steps: of the solver between two positions, >= 1.

    Returns:
      ``[..., L, D]`` float32, whose first is `initial`.

    Raises:
      ValueError: if `length` or `steps` is not positive.

    Numerics: for the field of `rotation` the error of a position k is about
      ``k * theta**5 / (120 * steps**4)``. Gradients go through the solver's steps.

    Source: Liu et al. (FLOATER), https://arxiv.org/abs/2003.09229, with fixed steps,
      and a plain reverse pass in place of the adjoint.
    """
    if length < 1 or steps < 1:
        raise ValueError(f"length and steps must be positive, got {length}, {steps}")
    width = 1.0 / steps
    initial = initial.astype(jnp.float32)

    def substep(position, time):
        first = field(time, position)
        second = field(time + width / 2, position + width / 2 * first)
        third = field(time + width / 2, position + width / 2 * second)
        fourth = field(time + width, position + width * third)
        slope = (first + 2.0 * second + 2.0 * third + fourth) / 6.0
        return position + width * slope, None

    def advance(position, token):
        times = token + jnp.arange(steps, dtype=jnp.float32) * width
        return jax.lax.scan(substep, position, times)[0], position

    tokens = jnp.arange(length, dtype=jnp.float32)
    _, positions = jax.lax.scan(advance, initial, tokens)
    return jnp.moveaxis(positions, 0, -2)


def rotation(frequencies: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
    r"""The field whose flow from (0, 1, 0, 1, ...) is `sinusoidal`.

    .. math:: \dot p_{2i} = \theta_i\, p_{2i+1}, \quad
              \dot p_{2i+1} = -\theta_i\, p_{2i}

    Args:
      frequencies: :math:`\theta`, ``[D / 2]``, in radians per token.

    Returns:
      ``(time, position [..., D]) -> [..., D]``.
    """

    def field(time, position):
        del time  # the same at all times
        theta = frequencies.reshape((1,) * (position.ndim - 1) + (-1,))
        theta = theta.astype(position.dtype)
        sine, cosine = position[..., 0::2], position[..., 1::2]
        change = jnp.stack([theta * cosine, -theta * sine], axis=-1)
        return change.reshape(position.shape)

    return field
