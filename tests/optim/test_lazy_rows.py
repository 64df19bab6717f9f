import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import lazy_rows

ABSENT = np.array([False, True, False, True])  # rows that the later steps leave out


def draw(steps=50):
    """Gradients of which two rows are zero from the third step on."""
    draws = np.random.default_rng(0)
    grads = {"t": draws.normal(size=(steps, 4, 3)), "b": draws.normal(size=(steps, 2))}
    grads["t"][2:, ABSENT] = 0
    start = {"t": draws.normal(size=(4, 3)), "b": draws.normal(size=2)}
    return grads, start


def slow_lazy_adamw(grads, theta, moved):
    """Adam with decay, row by row, in float64."""
    theta, m, v = theta.copy(), np.zeros((4, 3)), np.zeros((4, 3))
    for t, g in enumerate(grads, 1):
        rows = (g != 0).any(axis=1)
        at = np.ones(4, bool) if moved else rows
        m[at], v[at] = (0.9 * m + 0.1 * g)[at], (0.999 * v + 0.001 * g**2)[at]
        step = (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        theta[rows] -= 0.1 * (step + 0.01 * theta)[rows]
    return theta, m


@pytest.mark.parametrize("moments", ["kept", "moved"])
def test_lazy_adam_is_the_formula_over_fifty_steps(trajectory, moments):
    grads, start = draw()
    want, mean = slow_lazy_adamw(grads["t"], start["t"], moments == "moved")
    with jax.enable_x64(True):
        tx = lazy_rows(optax.adamw(0.1, weight_decay=0.01), moments=moments)
        seen, state = trajectory(tx, grads, start)
        dense, _ = trajectory(optax.adamw(0.1, weight_decay=0.01), grads, start)
    np.testing.assert_allclose(seen["t"][-1], want, rtol=1e-10)
    np.testing.assert_allclose(state[0].mu["t"], mean, rtol=1e-10)
    np.testing.assert_allclose(seen["b"], dense["b"], rtol=1e-12)
    np.testing.assert_allclose(seen["t"][1], dense["t"][1], rtol=1e-12)
    still = np.broadcast_to(seen["t"][1][ABSENT], seen["t"][1:, ABSENT].shape)
    np.testing.assert_array_equal(seen["t"][1:, ABSENT], still)
    assert (dense["t"][-1] != dense["t"][1]).all()


def test_moments_of_rows_without_gradient_are_the_same_to_the_bit():
    tx = lazy_rows(optax.adam(0.1))
    grads, start = jax.tree.map(lambda x: x.astype(np.float32), draw(3))

    @jax.jit
    def states(params, grads):
        def step(state, g):
            _, state = tx.update(g, state, params)
            return state, state

        return jax.lax.scan(step, tx.init(params), grads)[1]

    adam = jax.device_get(states(start, grads))[0]
    for moment in (adam.mu["t"], adam.nu["t"]):
        np.testing.assert_array_equal(moment[2][ABSENT], moment[1][ABSENT])
        assert (moment[2][~ABSENT] != moment[1][~ABSENT]).all()


def test_states_without_rows_and_unknown_moments_are_refused():
    with pytest.raises(ValueError, match="moments must be 'kept' or 'moved'"):
        lazy_rows(optax.sgd(0.1), moments="frozen")
    tx = lazy_rows(optax.scale_by_factored_rms(min_dim_size_to_factor=2))
    grads = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="inner state shaped like params"):
        jax.eval_shape(lambda g: tx.update(g, tx.init(g), g), grads)
