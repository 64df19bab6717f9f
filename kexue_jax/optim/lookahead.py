"""Lookahead: fast steps, and slow weights that follow them from time to time."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, require_params


class LookaheadState(NamedTuple):
    """Fast steps taken, the slow weights (shaped like params), the fast state."""

    count: jax.Array
    average: optax.Params
    fast: optax.OptState


def lookahead(
    fast: optax.GradientTransformation,
    sync_period: int = 5,
    slow_step_size: float = 0.5,
) -> optax.GradientTransformationExtraArgs:
    r"""Steps by `fast`, and every k steps halfway back to the slow weights.

    .. math:: \phi \to \phi + \alpha(\theta - \phi), \qquad \theta \to \phi

    Params are plain, the fast weights; the slow ones are the state's `average`, which
    the loop evaluates. A step size of 1 is `fast` alone, 0 stays where it began.

    Args:
      fast: a whole optimizer, with its learning rate: its updates are added to params.
      sync_period: k, at least 1.
      slow_step_size: :math:`\alpha`, in [0, 1].

    Raises:
      ValueError: if an argument is out of range, a leaf is not real and floating, or
        `update` gets no params.

    Numerics: slow weights are float32 at least; where all is, they are set to what
      params become, to a rounding. Nothing may change the updates after this, or the
      weights would part.

    Source: https://kexue.fm/archives/7094; the slow weights begin as a copy of params.
    """
    require(sync_period >= 1, f"sync_period must be at least 1, got {sync_period}")
    for ok in (slow_step_size >= 0, slow_step_size <= 1):
        require(ok, f"slow_step_size must be in [0, 1], got {slow_step_size}")
    fast = optax.with_extra_args_support(fast)

    def init(params):
        require_floating(params, "lookahead")
        # a copy: the loop gives up the buffers of params and of this state apart
        slow = jax.tree.map(lambda p: widened(jnp.array(p)), params)
        return LookaheadState(jnp.zeros((), jnp.int32), slow, fast.init(params))

    def update(updates, state, params=None, **extra_args):
        require_params(params, "lookahead")
        steps, inner = fast.update(updates, state.fast, params, **extra_args)
        count = jnp.asarray(optax.safe_increment(state.count))
        meet = count % sync_period == 0

        def ahead(slow, p, u):
            return slow + slow_step_size * (widened(p) + widened(u) - slow)

        def join(slow, p, u):
            step = jnp.where(meet, ahead(slow, p, u) - widened(p), widened(u))
            return step.astype(u.dtype)

        def follow(slow, p, u, step):
            plain = p.dtype == u.dtype == slow.dtype
            # where they meet, slow weights and params are one: one array less to make
            new = p + step if plain else ahead(slow, p, u)
            return jnp.where(meet, new, slow).astype(slow.dtype)

        joined = jax.tree.map(join, state.average, params, steps)
        average = jax.tree.map(follow, state.average, params, steps, joined)
        steps = joined
        return steps, LookaheadState(count, average, inner)

    return optax.GradientTransformationExtraArgs(init, update)
