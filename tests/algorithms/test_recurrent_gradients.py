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
    params = Weights(np.ones((1, 1)), np.full((1, 1), 0.9), np.zeros(1))

    def step(params, state, inputs):
        return simple_step(params, state, inputs, activation=lambda x: x)

    gradients = jax.jit(lambda *x: state_gradients(step, *x, jnp.ones_like))
    found = gradients(params, np.zeros((2, 1)), np.ones((2, 20, 1)))
    want = np.tile(0.9 ** np.arange(20, -1, -1), (2, 1))
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_the_first_is_the_derivative_by_the_first_state():
    draws = np.random.default_rng(0)
    shapes = (2, 12), (3, 12), (2, 4, 3), (4, 5, 2)
    inputs, recurrent, start, xs = (np.float32(draws.normal(size=s)) for s in shapes)
    params = Weights(inputs, recurrent, np.ones(12, np.float32))
    start, inputs = CellState(*start), xs

    def loss(start):
        last, _ = unroll(lstm_step, params, start, inputs)
        return jnp.sum(jnp.sin(last.cell) * last.hidden)

    want = jax.jit(jax.grad(loss))(start)
    want = np.sqrt(sum(np.sum(np.square(g), axis=-1) for g in want))
    slope = jax.grad(lambda last: jnp.sum(jnp.sin(last.cell) * last.hidden))
    gradients = jax.jit(lambda *x: state_gradients(lstm_step, *x, slope))
    found = np.asarray(gradients(params, start, inputs))
    assert found.shape == (4, 6)
    np.testing.assert_allclose(found[:, 0], want, rtol=1e-5)
    with pytest.raises(ValueError, match=r"\[B, T, D\]"):
        gradients(params, start, inputs[0])
