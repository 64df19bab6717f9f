import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.algorithms.recurrent import (
    CellState,
    Weights,
    gru_step,
    lstm_step,
    reset_last_step,
    simple_step,
    unroll,
)
from kexue_jax.algorithms.recurrent_jacobians import (
    gru_jacobian,
    lstm_jacobian,
    reset_last_jacobian,
    simple_jacobian,
    step_jacobians,
)

sigmoid = jax.nn.sigmoid


def normal(keys, shape):
    """Drawn by NumPy: nothing is compiled for each shape."""
    seed = np.asarray(jax.random.key_data(next(keys)))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def lstm_next(cell, x, u, output):
    hidden = output * jnp.tanh(cell)
    i, f = sigmoid(x[0] + u[0] * hidden), sigmoid(x[1] + u[1] * hidden)
    g = jnp.tanh(x[2] + u[2] * hidden)
    return f * cell + i * g, (i, f, g)


def gru_next(hidden, x, u):
    r, z = sigmoid(x[0] + u[0] * hidden), sigmoid(x[1] + u[1] * hidden)
    g = jnp.tanh(x[2] + u[2] * r * hidden)
    return (1 - z) * hidden + z * g, (r, z, g)


def reset_last_next(cell, x, u, reset):
    hidden = reset * cell
    z, g = sigmoid(x[1] + u[1] * hidden), jnp.tanh(x[2] + u[2] * hidden)
    return (1 - z) * cell + z * g, (z, g)


def draws(number):
    rng = np.random.default_rng(0)
    cell, gate = rng.normal(size=number), 1 / (1 + np.exp(-rng.normal(size=number)))
    return cell, gate, rng.normal(size=(3, number)), 2.0 * rng.normal(size=(3, number))


def both(number):
    """Formula and automatic differentiation of each cell, side by side."""
    cell, gate, x, u = (jnp.asarray(a) for a in draws(number))

    def derivative(function, *more):
        slope = jax.grad(lambda c, x, u, *m: function(c, x, u, *m)[0])
        axes = (0, 1, 1, *(0 for _ in more))
        return jax.vmap(slope, axes)(cell, x, u, *more)

    _, (i, f, g) = lstm_next(cell, x, u, gate)
    names = ("input_recurrent", "forget_recurrent", "candidate_recurrent")
    terms = lstm_jacobian(cell, gate, i, f, g, **dict(zip(names, u, strict=True)))
    yield terms.gate + terms.rest, derivative(lstm_next, gate)
    _, (r, z, g) = gru_next(cell, x, u)
    names = ("reset_recurrent", "update_recurrent", "candidate_recurrent")
    terms = gru_jacobian(cell, r, z, g, **dict(zip(names, u, strict=True)))
    yield terms.gate + terms.rest, derivative(gru_next)
    _, (z, g) = reset_last_next(cell, x, u, gate)
    terms = reset_last_jacobian(
        cell, gate, z, g, update_recurrent=u[1], candidate_recurrent=u[2]
    )
    yield terms.gate + terms.rest, derivative(reset_last_next, gate)
    hidden = jnp.tanh(x[0] + u[0] * cell)
    slope = jax.vmap(jax.grad(lambda c, x, u: jnp.tanh(x + u * c)))(cell, x[0], u[0])
    yield simple_jacobian(hidden, u[0]), slope


def test_the_formulas_are_the_derivatives_in_float32():
    with jax.numpy_dtype_promotion("standard"):
        for got, want in jax.jit(lambda: list(both(2000)))():
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_the_formulas_are_the_derivatives_in_float64():
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for got, want in jax.jit(lambda: list(both(5000)))():
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


def test_the_gates_of_the_terms_are_shares():
    for step in (lstm_jacobian, gru_jacobian):
        gates, ones = np.random.default_rng(0).random((5, 9)), np.ones(9)
        weights = {"candidate_recurrent": ones}
        if step is lstm_jacobian:
            weights |= {"input_recurrent": ones, "forget_recurrent": ones}
        else:
            weights |= {"reset_recurrent": ones, "update_recurrent": ones}
        terms = jax.jit(step)(*gates[: 5 if step is lstm_jacobian else 4], **weights)
        gate = np.asarray(terms.gate)
        assert ((gate >= 0) & (gate <= 1)).all()


@pytest.mark.parametrize("hidden", [0.1, 0.5, 2.0])
def test_the_derivative_of_a_tanh_state_is_bounded_in_its_weight(hidden):
    weight = np.linspace(-50.0, 50.0, 400001)
    slope = np.abs(jax.jit(simple_jacobian)(np.tanh(weight * hidden), weight))
    np.testing.assert_allclose(slope.max(), 0.447743 / hidden, rtol=1e-5)
    place = np.abs(weight[slope.argmax()]) * hidden
    np.testing.assert_allclose(place, 0.7717023, atol=1e-3)


def test_what_the_lstm_shows_of_a_cell_is_less_than_0_45_times_itself():
    cell = np.linspace(-30.0, 30.0, 100001)
    assert np.abs((1 - np.tanh(cell) ** 2) * cell).max() < 0.45


def first(step, size):
    state = np.float32(0.1 * np.arange(1, size + 1))[None]
    return (
        CellState(state, 0.5 * state) if step in (lstm_step, reset_last_step) else state
    )


def random_weights(keys, gates, size):
    shapes = ((2, gates * size), (size, gates * size), (gates * size,))
    return Weights(*(normal(keys, shape) for shape in shapes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "gates"),
    [(simple_step, 1), (gru_step, 3), (lstm_step, 4), (reset_last_step, 3)],
)
@pytest.mark.parametrize("size", [1, 3])
def test_the_product_of_the_steps_is_the_derivative_over_all_of_them(
    keys, step, gates, size
):
    params = random_weights(keys, gates, size)
    inputs = normal(keys, (6, 2))
    state = first(step, size)
    flat, restore = jax.flatten_util.ravel_pytree(state)

    def last(flat):
        end, _ = unroll(step, params, restore(flat), inputs[None])
        return jax.flatten_util.ravel_pytree(end)[0]

    factors = jax.jit(functools.partial(step_jacobians, step))(params, state, inputs)
    assert factors.shape == (6, len(flat), len(flat))
    got = functools.reduce(
        lambda product, factor: factor @ product, np.float64(factors)
    )
    np.testing.assert_allclose(
        got, jax.jit(jax.jacobian(last))(flat), rtol=1e-4, atol=1e-6
    )


def test_the_product_of_scalar_factors_of_an_lstm_is_another_number(keys):
    params = random_weights(keys, 4, 1)
    xs = normal(keys, (6, 2))
    each_step = jax.jit(functools.partial(step_jacobians, lstm_step))
    factors = each_step(params, first(lstm_step, 1), xs)
    whole = functools.reduce(lambda p, f: f @ p, np.float64(factors))[0, 0]
    # With the output gate held: a step's hidden state is that gate times tanh c.
    path, (inputs, recurrent, bias) = 1.0, params
    state = first(lstm_step, 1)
    for x in xs:
        inner = x[None] @ inputs + state.hidden @ recurrent + bias
        i, f, g, _ = inner[0]
        output = state.hidden[0, 0] / np.tanh(state.cell[0, 0])
        terms = jax.jit(lstm_jacobian)(
            state.cell[0, 0],
            output,
            scipy.special.expit(i),
            scipy.special.expit(f),
            np.tanh(g),
            input_recurrent=recurrent[0, 0],
            forget_recurrent=recurrent[0, 1],
            candidate_recurrent=recurrent[0, 2],
        )
        path *= float(terms.gate) + float(terms.rest)
        state = jax.device_get(jax.jit(lstm_step)(params, state, x[None]))
    assert abs(path - whole) > 1e-3 * abs(whole)
    assert abs(path - whole) < abs(whole)  # but of the same kind


@pytest.mark.parametrize(("weight", "want"), [(0.9, 2.656e-5), (1.1, 13780.6)])
def test_a_linear_net_multiplies_by_its_weight_each_step(weight, want):
    params = Weights(np.zeros((1, 1)), np.full((1, 1), weight), np.zeros(1))
    step = functools.partial(simple_step, activation=lambda x: x)

    def last(state):
        return unroll(step, params, state, np.zeros((1, 100, 1)))[0][0, 0]

    slope = jax.jit(jax.grad(last))(np.ones((1, 1)))
    np.testing.assert_allclose(slope, want, rtol=1e-4)


def test_a_relu_net_with_positive_inputs_explodes_unless_its_weight_is_clipped():
    step = functools.partial(simple_step, activation=jax.nn.relu)

    @jax.jit
    def slope(weight):
        params = Weights(jnp.ones((1, 1)), jnp.full((1, 1), weight), jnp.zeros(1))

        def last(state):
            return unroll(step, params, state, jnp.ones((1, 50, 1)))[0][0, 0]

        return jax.grad(last)(jnp.ones((1, 1)))[0, 0]

    np.testing.assert_allclose(slope(1.3), 1.3**50, rtol=1e-4)
    np.testing.assert_allclose(slope(float(np.clip(1.3, -1, 1))), 1.0, rtol=1e-5)


@pytest.mark.parametrize(("bias", "want"), [(1.0, 2.5e-14), (5.0, 0.511)])
def test_an_lstm_forgets_by_the_bias_of_its_gate_alone(bias, want):
    inputs = np.array([[1.0, 0.0, 1.0, 1.0]])
    params = Weights(inputs, np.zeros((1, 4)), np.array([0.0, bias, 0.0, 0.0]))

    def last(cell):
        state = CellState(cell, jnp.zeros((1, 1)))
        return unroll(lstm_step, params, state, jnp.ones((1, 100, 1)))[0].cell[0, 0]

    got = np.asarray(jax.jit(jax.grad(last))(np.ones((1, 1))))[0, 0]
    np.testing.assert_allclose(got, (1 / (1 + np.exp(-bias))) ** 100, rtol=1e-4)
    np.testing.assert_allclose(got, want, rtol=2e-2)


def test_inputs_of_another_rank_are_refused(keys):
    with pytest.raises(ValueError, match=r"\[T, D\], got \(1, 6, 2\)"):
        step_jacobians(
            gru_step,
            random_weights(keys, 3, 1),
            np.zeros((1, 1)),
            np.zeros((1, 6, 2)),
        )
