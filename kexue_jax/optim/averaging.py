"""An average of the weights, which the loop evaluates instead of the last ones."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class AverageState(NamedTuple):
    """The average so far, shaped like params, and the number of updates in it."""

    count: jax.Array
    average: optax.Params


def average_weights(decay: float = 0.999) -> optax.GradientTransformation:
    r"""Keeps :math:`\bar\theta_t = d_t \bar\theta_{t-1} + (1 - d_t)\theta_t`.

    With :math:`d_t = \min(d, t / (t + 9))`, so that an early average is not held
    back by the first weights. Put it last in a chain: it passes updates on unchanged.
    The loop finds the state's `average` and evaluates it.

    Args:
      decay: :math:`d`, in [0, 1).

    Raises:
      ValueError: if `decay` is outside, or `update` gets no params.

    Numerics: the average is float32 at least, whatever the dtype of params; what is
    not floating is the latest.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}")

    def wide(leaf: jax.Array) -> jax.Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32))

    def init(params):
        # a copy: the loop gives up the buffers of params and of this state apart
        return AverageState(
            jnp.zeros((), jnp.int32), jax.tree.map(lambda x: wide(jnp.array(x)), params)
        )

    def update(updates, state, params=None):
        if params is None:
            raise ValueError(
                "average_weights needs the params: call update(updates, state, params)"
            )
        count = optax.safe_increment(state.count)
        step = jnp.asarray(count, jnp.float32)
        keep = jnp.minimum(decay, step / (step + 9.0))

        def mix(average, new):
            new = new.astype(average.dtype)
            if not jnp.issubdtype(average.dtype, jnp.floating):
                return new
            return (keep * average + (1.0 - keep) * new).astype(average.dtype)

        latest = optax.apply_updates(params, updates)
        return updates, AverageState(
            jnp.asarray(count), jax.tree.map(mix, state.average, latest)
        )

    return optax.GradientTransformation(init, update)
