"""A learning rate for each element, learned by exponentiated gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating


class ExponentiatedRatesState(NamedTuple):
    """The logarithm of each element's rate, and the last gradient, like params."""

    log_rate: optax.Updates
    previous: optax.Updates


def scale_by_exponentiated_rates(
    gamma: float = 1e-2, limit: float = 1e3
) -> optax.GradientTransformation:
    r"""Returns :math:`\nu_t g_t` with :math:`\nu_t = \nu_{t-1} e^{\gamma g_{t-1} g_t}`.

    A rate grows where gradients keep their sign and shrinks where they turn. It begins
    at 1, and is never below 0.

    Args:
      gamma: the rate of the rates, at least 0; 0 is the identity.
      limit: rates stay between 1/limit and limit; at least 1.

    Raises:
      ValueError: if an argument is out of range, or a leaf is not real and floating.

    Numerics: computed in float32; logarithms are kept, in the dtype of params.

    Source: Su Jianlin's post of 3 March 2022 on exponentiated gradients. `limit` is
      added, without which rates overflow.
    """
    require(gamma >= 0, f"gamma must be at least 0, got {gamma}")
    require(limit >= 1, f"limit must be at least 1, got {limit}")
    name = "scale_by_exponentiated_rates"

    def init(params):
        require_floating(params, name)
        zeros = optax.tree.zeros_like(params)
        return ExponentiatedRatesState(zeros, optax.tree.zeros_like(params))

    def update(updates, state, params=None):
        del params
        require_floating(updates, name)
        bound = jnp.log(limit)

        def grow(g, log_rate, previous):
            new = widened(log_rate) + gamma * widened(previous) * widened(g)
            return jnp.clip(new, -bound, bound)

        def step(*leaves):
            return (jnp.exp(grow(*leaves)) * widened(leaves[0])).astype(leaves[0].dtype)

        args = (updates, state.log_rate, state.previous)
        log_rate = jax.tree.map(lambda *x: grow(*x).astype(x[1].dtype), *args)
        previous = jax.tree.map(lambda g, old: g.astype(old.dtype), updates, args[2])
        return jax.tree.map(step, *args), ExponentiatedRatesState(log_rate, previous)

    return optax.GradientTransformation(init, update)
