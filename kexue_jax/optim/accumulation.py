"""Gradient accumulation hidden in the momentum, which needs no memory of its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating


class AccumulateState(NamedTuple):
    """Gradients seen, and the one moving average of them, shaped like params."""

    count: jax.Array
    momentum: optax.Updates


def accumulate_in_momentum(
    every: int, decay: float = 0.9, *, mu_dtype: Any | None = None
) -> optax.GradientTransformation:
    r"""Returns, every k gradients, the momentum of their means; zeros in between.

    .. math:: m_t = \beta^{[k \mid t - 1]} m_{t-1} + (1 - \beta) g_t / k

    The momentum decays once in k gradients, and they are added to it as they come: what
    k gradients averaged by ``optax.MultiSteps`` give ``optax.ema``, without a second
    copy of the gradients.

    Args:
      every: k, at least 1.
      decay: :math:`\beta`, in [0, 1).
      mu_dtype: of the momentum; default, each parameter's.

    Raises:
      ValueError: if an argument is out of range, or a leaf is not real and floating.

    Numerics: averaged in float32. A learning rate's schedule that follows counts every
      gradient, not every update.

    Source: https://kexue.fm/archives/8634
    """
    require(every >= 1, f"every must be at least 1, got {every}")
    for ok in (decay >= 0, decay < 1):
        require(ok, f"decay must be in [0, 1), got {decay}")
    name = "accumulate_in_momentum"

    def init(params):
        require_floating(params, name)
        momentum = optax.tree.zeros_like(params, dtype=mu_dtype)
        return AccumulateState(jnp.zeros((), jnp.int32), momentum)

    def update(updates, state, params=None):
        del params
        require_floating(updates, name)
        keep = jnp.where(state.count % every == 0, decay, 1.0)
        now = (state.count + 1) % every == 0

        def add(g, m):
            return keep * widened(m) + (1.0 - decay) / every * widened(g)

        steps = jax.tree.map(
            lambda g, m: jnp.where(now, add(g, m), 0.0).astype(g.dtype),
            updates,
            state.momentum,
        )
        momentum = jax.tree.map(
            lambda g, m: add(g, m).astype(m.dtype), updates, state.momentum
        )
        count = jnp.asarray(optax.safe_increment(state.count))
        return steps, AccumulateState(count, momentum)

    return optax.GradientTransformation(init, update)
