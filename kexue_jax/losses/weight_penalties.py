"""Penalties on the size of weights, added to a loss.

They wrap a loss ``(params, extras, batch, rng) -> loss, (extras, scores)``. As a part
of the loss they pass through the optimizer, so an adaptive one divides them like any
gradient. What decays outside of it is ``optax.add_decayed_weights`` or
`kexue_jax.optim.add_weissi` in the optimizer's chain.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kexue_jax.algorithms.roles import is_kernel, is_weight
from kexue_jax.algorithms.weight_scales import weissi
from kexue_jax.losses.leaves import refuse_many
from kexue_jax.numerics import widened


def _penalised(loss: Callable, penalty: Callable, name: str) -> Callable:
    def wrapped(params, extras, batch, rng):
        value, (after, scores) = loss(params, extras, batch, rng)
        refuse_many(name, value)
        more = penalty(params)
        scores = scores | {"penalty": more}
        return value + more.astype(value.dtype), (after, scores)

    return wrapped


def _total(of: Callable, params: Any, mask: Callable[[Any], Any] | Any) -> jax.Array:
    chosen = mask(params) if callable(mask) else mask
    parts = jax.tree.map(lambda keep, p: of(p) if keep else 0.0, chosen, params)
    return sum(jax.tree.leaves(parts), start=jnp.zeros((), jnp.float32))


def l2_penalty(
    loss: Callable, *, weight: float, mask: Callable[[Any], Any] | Any = is_weight
) -> Callable:
    r"""Adds :math:`\frac{\lambda}{2} \sum \theta^2`.

    Under plain gradient descent it is weight decay. Under Adam it is not: where it is
    all there is, it moves every weight at the same pace, however large.

    Args:
      loss: a loss of one number.
      weight: :math:`\lambda`, not negative.
      mask: True for leaves that count, a tree or what makes it of params; by default
        neither biases nor gains.

    Returns:
      A loss of the same signature; its scores gain ``penalty``.

    Raises:
      ValueError: if `weight` is negative; when traced, if the loss has parts.

    Source: https://kexue.fm/archives/7681
    """
    if weight < 0:
        raise ValueError(f"weight must not be negative, got {weight}")

    def half_square(p):
        return 0.5 * weight * jnp.sum(jnp.square(widened(p)))

    return _penalised(loss, lambda p: _total(half_square, p, mask), "l2_penalty")


def weissi_penalty(
    loss: Callable,
    *,
    norm: float,
    direction: float = 0.0,
    mask: Callable[[Any], Any] | Any = is_kernel,
    floor: float = 1e-3,
    stacked: int = 0,
) -> Callable:
    r"""Adds :math:`\sum_l \lambda_1 \log\|W_l\| + \lambda_2 \|W_l / \|W_l\|\,\|_1`.

    A network of ReLU layers computes the same when scale moves from one of its layers
    to another. That lowers L2, which is thus made smaller without any change in what is
    computed. It does not lower this.

    Args:
      loss: a loss of one number.
      norm, direction: :math:`\lambda_1, \lambda_2`, per layer, not negative.
      mask: True for leaves that count. By default all matrices. Leave out those before
        a normalisation, whose scale the loss does not see: it would fall to the floor.
      floor: norms below count as it; there the penalty pulls no more.
      stacked: leading axes of a leaf that count layers.

    Returns:
      A loss of the same signature; its scores gain ``penalty``, which may be negative.

    Raises:
      ValueError: if a number is out of range; when traced, if the loss has parts.

    Source: https://kexue.fm/archives/7681; Liu et al., arXiv 2008.02965.
    """
    for name, value in (("norm", norm), ("direction", direction), ("stacked", stacked)):
        if value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
    if floor <= 0:
        raise ValueError(f"floor must be positive, got {floor}")
    of = functools.partial(
        weissi, norm=norm, direction=direction, floor=floor, stacked=stacked
    )
    return _penalised(loss, lambda p: _total(of, p, mask), "weissi_penalty")
