import functools

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.algorithms.recurrent import (
    CellState,
    ResetAfterWeights,
    Weights,
    gru_reset_after_step,
    gru_step,
    lstm_step,
    minimal_gru_step,
    reset_last_step,
    simple_step,
    unroll,
)

GATES = {
    simple_step: 1,
    lstm_step: 4,
    gru_step: 3,
    gru_reset_after_step: 3,
    minimal_gru_step: 2,
    reset_last_step: 3,
}
every = pytest.mark.parametrize("step", GATES, ids=lambda step: step.__name__)


def normal(keys, shape):
    """Drawn by NumPy: nothing is compiled for each shape."""
    seed = np.asarray(jax.random.key_data(next(keys)))
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def weights(keys, step, scale=1.0, size=4):
    shapes = [
        (3, GATES[step] * size),
        (size, GATES[step] * size),
        (GATES[step] * size,),
    ]
    if step is gru_reset_after_step:
        shapes.append((size,))
    arrays = [scale * normal(keys, shape) for shape in shapes]
    return (ResetAfterWeights if len(arrays) == 4 else Weights)(*arrays)


def first(step, batch=2, size=4, fill=0.0):
    state = np.full((batch, size), fill, np.float32)
    return CellState(state, state) if step in (lstm_step, reset_last_step) else state


def slow(step, params, state, inputs):
    """One example of the formulas, gate by gate, in float64."""
    params = [np.split(np.float64(p), GATES[step], axis=-1) for p in params[:3]]
    sigmoid, x = scipy.special.expit, np.float64(inputs)
    h = np.float64(state.hidden if isinstance(state, CellState) else state)

    def at(k, h=h):
        return x @ params[0][k] + h @ params[1][k] + params[2][k]

    if step is simple_step:
        return np.tanh(at(0))
    if step is lstm_step:
        cell = sigmoid(at(1)) * np.float64(state.cell) + sigmoid(at(0)) * np.tanh(at(2))
        return cell, sigmoid(at(3)) * np.tanh(cell)
    if step is gru_step:
        r, z = sigmoid(at(0)), sigmoid(at(1))
        return (1 - z) * h + z * np.tanh(at(2, r * h))
    if step is minimal_gru_step:
        z = sigmoid(at(0))
        return (1 - z) * h + z * np.tanh(at(1, z * h))
    r, z = sigmoid(at(0)), sigmoid(at(1))
    cell = (1 - z) * np.float64(state.cell) + z * np.tanh(at(2))
    return cell, r * cell


@pytest.mark.parametrize("step", [s for s in GATES if s is not gru_reset_after_step])
def test_a_step_is_its_formula(keys, step):
    params, inputs = weights(keys, step), normal(keys, (2, 3))
    state = jax.tree.map(lambda s: normal(keys, s.shape), first(step))
    got = jax.jit(step)(params, state, inputs)
    want = slow(step, params, state, inputs)
    jax.tree.map(
        lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6),
        tuple(got) if isinstance(got, CellState) else got,
        want,
    )


def test_both_resets_agree_where_the_gate_is_open_or_the_weights_diagonal(keys):
    params = weights(keys, gru_reset_after_step)
    params = params._replace(recurrent_bias=np.zeros(4, np.float32))
    size = 4
    params.recurrent[:, 2 * size :] = np.diag([1.0, -0.5, 2.0, 0.3])
    state, inputs = normal(keys, (2, 4)), np.ones((2, 3), np.float32)
    np.testing.assert_allclose(
        jax.jit(gru_reset_after_step)(params, state, inputs),
        jax.jit(gru_step)(Weights(*params[:3]), state, inputs),
        rtol=1e-5,
    )


def by_gate(params, names, size=4):
    """Kernels and biases of a Flax cell, side by side."""
    return [
        np.concatenate([params[name][kind] for name in names], axis=-1)
        for kind in ("kernel", "bias")
        if kind in params[names[0]]
    ]


def randomised(keys, cell, *arrays):
    variables = jax.eval_shape(cell.init, jax.random.key(1), *arrays)
    return jax.tree.map(lambda p: normal(keys, p.shape), variables["params"])


def test_the_lstm_is_that_of_flax(keys):
    cell, inputs = flax.linen.LSTMCell(4), normal(keys, (2, 3))
    carry = tuple(normal(keys, (2, 4)) for _ in range(2))
    params = randomised(keys, cell, carry, inputs)
    (kernel,) = by_gate(params, ["ii", "if", "ig", "io"])
    recurrent, bias = by_gate(params, ["hi", "hf", "hg", "ho"])
    ours = Weights(kernel, recurrent, bias)
    got = jax.jit(lstm_step)(ours, CellState(*carry), inputs)
    with jax.numpy_rank_promotion("allow"):
        want, _ = jax.jit(cell.apply)({"params": params}, carry, inputs)
    np.testing.assert_allclose(got.cell, want[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.hidden, want[1], rtol=1e-5, atol=1e-6)


def test_the_simple_net_is_that_of_flax(keys):
    cell, inputs = flax.linen.SimpleCell(4), normal(keys, (2, 3))
    carry = normal(keys, (2, 4))
    params = randomised(keys, cell, carry, inputs)
    kernel, bias = by_gate(params, ["i"])
    (recurrent,) = by_gate(params, ["h"])
    with jax.numpy_rank_promotion("allow"):
        want, _ = jax.jit(cell.apply)({"params": params}, carry, inputs)
    got = jax.jit(simple_step)(Weights(kernel, recurrent, bias), carry, inputs)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_gru_of_flax_resets_after_and_keeps_by_z(keys):
    cell, inputs = flax.linen.GRUCell(4), normal(keys, (2, 3))
    carry = normal(keys, (2, 4))
    params = randomised(keys, cell, carry, inputs)
    sign = np.repeat(np.float32([1.0, -1.0, 1.0]), 4)  # their z is our 1 - z
    kernel, bias = by_gate(params, ["ir", "iz", "in"])
    recurrent = np.concatenate([params[n]["kernel"] for n in ("hr", "hz", "hn")], -1)
    ours = ResetAfterWeights(
        kernel * sign, recurrent * sign, bias * sign, params["hn"]["bias"]
    )
    with jax.numpy_rank_promotion("allow"):
        want, _ = jax.jit(cell.apply)({"params": params}, carry, inputs)
    got = jax.jit(gru_reset_after_step)(ours, carry, inputs)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    before = jax.jit(gru_step)(Weights(*ours[:3]), carry, inputs)
    assert np.abs(np.asarray(before) - np.asarray(want)).max() > 1e-2


@every
def test_unrolling_is_one_step_after_another(keys, step):
    params, inputs = weights(keys, step), normal(keys, (2, 5, 3))
    run = jax.jit(functools.partial(unroll, step))
    last, states = jax.device_get(run(params, first(step), inputs))
    state, one = first(step), jax.jit(step)
    for t in range(5):
        state = one(params, state, inputs[:, t])
        jax.tree.map(
            lambda s, w, t=t: np.testing.assert_allclose(s[:, t], w, 1e-4, 1e-5),
            states,
            state,
        )
    jax.tree.map(
        np.testing.assert_array_equal, last, jax.tree.map(lambda s: s[:, -1], states)
    )


@pytest.mark.slow
@every
def test_padding_freezes_the_state_whatever_it_holds(keys, step):
    params, inputs = weights(keys, step), normal(keys, (2, 5, 3))
    mask = np.array([[True] * 5, [False, True, True, False, False]])
    dirty = np.where(mask[..., None], inputs, np.float32(np.nan))

    def run(params, inputs):
        last, states = unroll(step, params, first(step), inputs, mask)
        return sum(x.sum() for x in jax.tree.leaves(last)), (last, states)

    slopes = jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))
    (_, (last, states)), grads = jax.device_get(slopes(params, dirty))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert not grads[1][1, 3:].any()
    alone, _ = jax.jit(functools.partial(unroll, step))(
        params, first(step, 1), inputs[1:, 1:3]
    )
    jax.tree.map(
        lambda got, want: np.testing.assert_allclose(got[1:], want, 1e-5, 1e-6),
        last,
        alone,
    )
    jax.tree.map(lambda s: np.testing.assert_array_equal(s[1, 2], s[1, 4]), states)


@pytest.mark.slow
@every
def test_states_stay_float32_with_bfloat16_weights_and_inputs(keys, step):
    params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), weights(keys, step))
    inputs = normal(keys, (2, 1, 3)).astype(jnp.bfloat16)
    run = jax.jit(functools.partial(unroll, step))
    last, states = run(params, first(step), inputs)
    for array in jax.tree.leaves((last, states)):
        assert array.dtype == jnp.float32
    wide = jax.tree.map(lambda p: p.astype(np.float32), (params, inputs))
    want, _ = run(wide[0], first(step), wide[1])
    jax.tree.map(lambda g, w: np.testing.assert_allclose(g, w, rtol=1e-5), last, want)


@pytest.mark.parametrize("step", [gru_step, minimal_gru_step, reset_last_step])
def test_states_of_gated_units_stay_within_one(keys, step):
    params = weights(keys, step, scale=20.0)
    inputs = 20.0 * normal(keys, (2, 50, 3))
    _, states = jax.jit(functools.partial(unroll, step))(params, first(step), inputs)
    assert all(np.abs(s).max() <= 1.0 for s in jax.tree.leaves(states))


def test_the_cell_of_an_lstm_counts_without_bound():
    bias = np.repeat(np.float32([50.0, 50.0, 50.0, 0.0]), 4)  # i = f = g = 1
    params = Weights(np.zeros((3, 16)), np.zeros((4, 16)), bias)
    run = jax.jit(functools.partial(unroll, lstm_step))
    _, states = run(params, first(lstm_step), np.zeros((2, 100, 3)))
    cell = np.asarray(states.cell)[0, :, 0]
    np.testing.assert_allclose(cell, np.arange(1.0, 101.0), rtol=1e-6)


@pytest.mark.parametrize("steps", [1, 4])
def test_shapes_that_do_not_fit_are_refused(keys, steps):
    params = weights(keys, gru_step)
    with pytest.raises(ValueError, match="3, 12"):
        gru_step(params, np.zeros((2, 4)), np.zeros((2, steps + 3)))
    with pytest.raises(ValueError, match=r"inputs must be \[B, T, D\]"):
        unroll(gru_step, params, np.zeros((2, 4)), np.zeros((2, 3)))
    mask = np.ones((2, steps + 1), bool)
    with pytest.raises(ValueError, match="mask must be bool"):
        unroll(gru_step, params, np.zeros((2, 4)), np.zeros((2, steps, 3)), mask)
