import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.recurrent import (
    CellState,
    Weights,
    lstm_step,
    simple_step,
    unroll,
)
from kexue_jax.algorithms.recurrent_gradients import state_gradients


def test_a_linear_state_passes_on_powers_of_its_weight():
    params = Weights(jnp.ones((1, 1)), jnp.full((1, 1), 0.9), jnp.zeros(1))

    def step(params, state, inputs):
        return simple_step(params, state, inputs, activation=lambda x: x)

    found = state_gradients(
        step, params, jnp.zeros((2, 1)), jnp.ones((2, 20, 1)), jnp.ones_like
    )
    want = np.tile(0.9 ** np.arange(20, -1, -1), (2, 1))
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_the_first_is_the_derivative_by_the_first_state(keys):
    params = Weights(*(jax.random.normal(next(keys), s) for s in ((2, 12), (3, 12))), 0)
    params = params._replace(bias=jnp.ones(12))
    start = CellState(*jax.random.normal(next(keys), (2, 4, 3)))
    inputs = jax.random.normal(next(keys), (4, 5, 2))

    def loss(start):
        last, _ = unroll(lstm_step, params, start, inputs)
        return jnp.sum(jnp.sin(last.cell) * last.hidden)

    want = jax.grad(loss)(start)
    want = np.sqrt(sum(np.sum(np.square(g), axis=-1) for g in want))
    slope = jax.grad(lambda last: jnp.sum(jnp.sin(last.cell) * last.hidden))
    found = state_gradients(lstm_step, params, start, inputs, slope)
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found[:, 0], want, rtol=1e-5)
    with pytest.raises(ValueError, match=r"\[B, T, D\]"):
        state_gradients(lstm_step, params, start, inputs[0], slope)
