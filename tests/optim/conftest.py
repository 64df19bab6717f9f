"""Trajectories of transforms, in one program each."""

import jax
import optax
import pytest


@pytest.fixture
def trajectory():
    """``(tx, grads, start)`` -> parameters after every step, and the last state."""

    def run(tx, grads, start):
        @jax.jit
        def all_steps(grads, params):
            def step(carry, g):
                params, state = carry
                updates, state = tx.update(g, state, params)
                params = optax.apply_updates(params, updates)
                return (params, state), params

            return jax.lax.scan(step, (params, tx.init(params)), grads)

        (_, state), seen = all_steps(grads, start)
        return jax.device_get((seen, state))

    return run
