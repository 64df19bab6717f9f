"""Regularisers of the size of weights, as steps of an optimizer."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.roles import is_kernel
from kexue_jax.algorithms.weight_scales import weissi
from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, require_params


def add_weissi(
    norm: float,
    direction: float = 0.0,
    *,
    mask: Callable[[Any], Any] | Any = is_kernel,
    floor: float = 1e-3,
    stacked: int = 0,
) -> optax.GradientTransformation:
    r"""Adds the gradient of :math:`\lambda_1\log\|W\| + \lambda_2\|W/\|W\|\,\|_1`.

    First in a chain it is the penalty `kexue_jax.losses.weissi_penalty`. Between the
    preconditioner and the learning rate, where ``optax.add_decayed_weights`` stands in
    AdamW, it is decoupled: :math:`\|W\|^2` then falls by :math:`2\alpha\lambda_1` a
    step, whatever it is.

    Args:
      norm, direction: :math:`\lambda_1, \lambda_2`, per leaf, not negative.
      mask: True for leaves that are penalised: a tree, or what makes it of params. By
        default matrices. Leave out those before a normalisation, and those that begin
        at zero.
      floor: norms below count as it; there nothing is added.
      stacked: leading axes of a leaf that count layers, each with its own norm.

    Raises:
      ValueError: if a number is out of range, a leaf is not real and floating, or
        `update` gets no params.

    Source: https://kexue.fm/archives/7681; Liu et al., arXiv 2008.02965.
    """
    for name, value in (("norm", norm), ("direction", direction), ("stacked", stacked)):
        require(value >= 0, f"{name} must not be negative, got {value}")
    require(floor > 0, f"floor must be positive, got {floor}")
    slope = jax.grad(
        functools.partial(
            weissi, norm=norm, direction=direction, floor=floor, stacked=stacked
        )
    )

    def init(params):
        require_floating(params, "add_weissi")
        return optax.EmptyState()

    def update(updates, state, params=None):
        require_params(params, "add_weissi")
        require_floating(updates, "add_weissi")

        def add(keep, g, p):
            if not keep:
                return g
            return (widened(g) + slope(widened(p))).astype(g.dtype)

        chosen = mask(params) if callable(mask) else mask
        return jax.tree.map(add, chosen, updates, params), state

    return optax.GradientTransformation(init, update)


def hold_norms(
    *, mask: Callable[[Any], Any] | Any = is_kernel
) -> optax.GradientTransformation:
    r"""Takes from a step what lengthens a leaf: its norm does not grow, to first order.

    .. math:: u = g + \frac{\max(0, -\langle g, \theta\rangle)}{\|\theta\|^2}\,\theta

    It is regularisation without a coefficient: the loss is the main objective and the
    norm another one, which must not rise. Put it after the preconditioner and before
    the learning rate.

    Args:
      mask: True for leaves that are held: a tree, or what makes it of params.

    Raises:
      ValueError: if a leaf is not real and floating, or `update` gets no params.

    Numerics: products in float32; a leaf of zeros is let free.

    Source: https://kexue.fm/archives/8907, where the last factor is missing.
    """

    def init(params):
        require_floating(params, "hold_norms")
        return optax.EmptyState()

    def update(updates, state, params=None):
        require_params(params, "hold_norms")
        require_floating(updates, "hold_norms")

        def held(keep, g, p):
            if not keep:
                return g
            step, theta = widened(g), widened(p)
            square = jnp.sum(jnp.square(theta))
            outward = jnp.maximum(0.0, -jnp.sum(step * theta))
            share = jnp.where(square > 0, outward / jnp.where(square > 0, square, 1), 0)
            return (step + share * theta).astype(g.dtype)

        chosen = mask(params) if callable(mask) else mask
        return jax.tree.map(held, chosen, updates, params), state

    return optax.GradientTransformation(init, update)
