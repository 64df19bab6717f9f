import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax import numerics
from kexue_jax.algorithms import taylor_softmax as module
from kexue_jax.numerics import taylor_exp_minimum

compiled = functools.partial(jax.jit, static_argnames="order")
taylor_exp = compiled(numerics.taylor_exp)
log_taylor_exp = compiled(numerics.log_taylor_exp)
taylor_softmax = compiled(module.taylor_softmax)
log_taylor_softmax = compiled(module.log_taylor_softmax)
monotone_taylor_exp = compiled(module.monotone_taylor_exp)
monotone_taylor_softmax = compiled(module.monotone_taylor_softmax)
softmax = jax.jit(jax.nn.softmax)

ORDERS = (2, 4, 6, 8)
# Where the polynomials are least, and how much that is.
MINIMA = {
    2: (-1.0, 0.5),
    4: (-1.596071638, 0.270394765),
    6: (-2.180607124, 0.149324842),
    8: (-2.759002710, 0.083271520),
    10: (-3.333551485, 0.046699114),
}


def slow(inputs, order):
    inputs = np.asarray(inputs, np.float64)
    return sum(inputs**k / math.factorial(k) for k in range(order + 1))


@compiled
@jax.grad
def slope_of_logarithm(inputs, order):
    return log_taylor_exp(inputs, order=order).sum()


@pytest.mark.parametrize("order", MINIMA)
def test_the_minima_are_those_of_the_golden_table(order):
    place, least = taylor_exp_minimum(order)
    np.testing.assert_allclose((place, least), MINIMA[order], rtol=0, atol=1e-9)
    grid = np.linspace(-20.0, 20.0, 40001)
    assert slow(grid, order).min() >= least - 1e-12
    slope = slow(grid, order - 1)
    assert np.sum(np.diff(np.sign(slope[slope != 0.0])) != 0) == 1


def test_the_minimum_moves_away_as_a_share_of_the_order():
    shares = [taylor_exp_minimum(n)[0] / n for n in (10, 20, 40)]
    assert -0.34 < shares[0] < shares[1] < shares[2] < -0.27846


@pytest.mark.parametrize("order", ORDERS)
def test_values_are_the_polynomial_and_positive(order):
    inputs = np.linspace(-30.0, 30.0, 4001, dtype=np.float32)
    want = slow(inputs, order)
    np.testing.assert_allclose(taylor_exp(inputs, order=order), want, rtol=1e-5)
    logs = log_taylor_exp(inputs, order=order)
    np.testing.assert_allclose(logs, np.log(want), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", [2, 10, 40])
def test_values_are_positive_also_where_the_sum_cancels_or_overflows(order):
    limits = np.finfo(np.float32)
    ends = [limits.min, -1e9, -limits.tiny, 0.0, limits.tiny, 1e9, limits.max]
    inputs = np.concatenate([np.linspace(-2.0 * order, 2.0 * order, 2001), ends])
    inputs = inputs.astype(np.float32)
    assert (np.asarray(taylor_exp(inputs, order=order)) > 0.0).all()
    logs = np.asarray(log_taylor_exp(inputs, order=order))
    assert np.isfinite(logs).all()
    assert (logs >= math.log(taylor_exp_minimum(order)[1]) - 1e-3).all()
    assert np.isfinite(slope_of_logarithm(inputs, order=order)).all()


def test_the_polynomials_close_in_on_exp():
    grid = np.linspace(-3.0, 3.0, 61, dtype=np.float32)
    inputs = np.asarray(grid, np.float64)
    for order in (2, 4, 8):
        gap = np.abs(np.asarray(taylor_exp(grid, order=order)) - np.exp(inputs))
        rest = np.abs(inputs) ** (order + 1) / math.factorial(order + 1)
        assert (gap <= np.exp(np.abs(inputs)) * rest * (1 + 1e-5) + 1e-5).all()


def test_the_distribution_closes_in_on_the_softmax():
    inputs = np.random.default_rng(0).uniform(-3.0, 3.0, (4, 6)).astype(np.float32)
    want = np.asarray(softmax(inputs))
    gaps = [
        np.abs(np.asarray(taylor_softmax(inputs, order=order)) - want).max()
        for order in (2, 4, 8, 16)
    ]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-5


@pytest.mark.parametrize("order", ORDERS)
def test_weights_are_shares_of_the_polynomial(order):
    inputs = 3.0 * np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    want = slow(inputs, order)
    want = want / want.sum(-1, keepdims=True)
    got = np.asarray(taylor_softmax(inputs, order=order))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    logs = log_taylor_softmax(inputs, order=order)
    np.testing.assert_allclose(logs, np.log(want), rtol=1e-5, atol=1e-5)
    across = jax.jit(functools.partial(module.taylor_softmax, order=order, axis=0))(
        inputs.T
    )
    np.testing.assert_allclose(across, got.T, rtol=1e-5)


@pytest.mark.parametrize("order", [-2, 0, 1, 3, 5])
def test_odd_orders_are_refused_because_they_are_negative_somewhere(order):
    for f in (taylor_exp, taylor_softmax, monotone_taylor_exp, log_taylor_softmax):
        with pytest.raises(ValueError, match=f"even and at least 2, got {order}"):
            f(np.zeros(3), order=order)
    if order > 0:
        assert slow(-10.0, order) < 0.0


@pytest.mark.parametrize("order", ORDERS)
def test_the_slope_of_the_logarithm_is_the_polynomial_before_over_it(order):
    inputs = np.linspace(-12.0, 12.0, 241, dtype=np.float32)
    got = slope_of_logarithm(inputs, order=order)
    want = slow(inputs, order - 1) / slow(inputs, order)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_cross_entropy_has_the_gradient_of_finite_differences():
    inputs = 2.0 * np.random.default_rng(0).normal(size=5).astype(np.float32)
    got = jax.jit(jax.grad(lambda x: -log_taylor_softmax(x, order=4)[1]))(inputs)
    want = np.zeros(5)
    for place in range(5):
        for sign in (1.0, -1.0):
            moved = np.float64(inputs)
            moved[place] += sign * 1e-6
            weights = slow(moved, 4)
            want[place] -= sign * np.log(weights[1] / weights.sum()) / 2e-6
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_constant_added_to_all_inputs_changes_the_weights():
    inputs = np.array([0.0, 1.0, 2.0], np.float32)
    np.testing.assert_allclose(softmax(inputs + 3.0), softmax(inputs), rtol=1e-6)
    weights = np.asarray(taylor_softmax(inputs))
    assert np.abs(taylor_softmax(inputs + 3.0) - weights).max() > 0.05


def test_large_inputs_lose_their_temperature():
    inputs = np.array([1e4, 2e4, -1.5e4], np.float32)
    got = taylor_softmax(10.0 * inputs)
    np.testing.assert_allclose(got, taylor_softmax(inputs), rtol=1e-3)
    np.testing.assert_allclose(got, np.array([1.0, 4.0, 2.25]) / 7.25, rtol=1e-3)


def test_to_be_sure_takes_far_larger_inputs_than_with_the_softmax():
    first = np.arange(10) == 0
    weights = np.asarray(taylor_softmax(np.where(first, np.float32(28.83), -1.0)))
    np.testing.assert_allclose(weights[0], 0.99, rtol=1e-4)
    weights = np.asarray(softmax(np.where(first, np.float32(6.79), 0.0)))
    np.testing.assert_allclose(weights[0], 0.99, rtol=1e-4)


def test_an_additive_mask_would_give_a_hidden_entry_everything():
    inputs = np.array([3.0, -1e4], np.float32)
    weights = np.asarray(taylor_softmax(inputs))
    np.testing.assert_allclose(weights[1], 0.99999983, rtol=1e-7)
    where = np.array([True, False])
    np.testing.assert_array_equal(taylor_softmax(inputs, where=where), [1.0, 0.0])
    logs = log_taylor_softmax(inputs, where=where)
    np.testing.assert_allclose(logs, [0.0, -np.inf], atol=1e-6)


@jax.jit
def masked_with_gradients(inputs, where):
    out, pull = jax.vjp(lambda x: taylor_softmax(x, where=where), inputs)
    pick = jax.grad(lambda x: log_taylor_softmax(x, where=where)[0, 0])(inputs)
    return out, pull(jnp.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))[0], pick


@pytest.mark.parametrize("value", [0.0, 1e30, jnp.nan, jnp.inf])
def test_hidden_entries_and_empty_rows_have_no_gradients(value):
    inputs = np.float32([[1.0, value, 2.0], [value, value, value]])
    where = np.array([[True, False, True], [False, False, False]])
    out, grad, pick = jax.device_get(masked_with_gradients(inputs, where))
    assert not out[1].any()
    assert grad[0, 0] != 0.0
    assert not grad[0, 1]
    assert not grad[1].any()
    assert np.isfinite(pick).all()
    assert not pick[1].any()


def test_the_monotone_form_keeps_the_order_that_the_plain_one_turns():
    inputs = np.array([-10.0, -2.0, -1.0, 0.0, 1.0], np.float32)
    plain = np.asarray(taylor_exp(inputs))
    assert plain[0] == 41.0 > plain[3]
    got = np.asarray(monotone_taylor_exp(inputs))
    np.testing.assert_allclose(got, [0.5, 0.5, 0.5, 1.0, 2.5], rtol=1e-6)
    weights = np.asarray(monotone_taylor_softmax(inputs))
    logs = jax.jit(module.log_monotone_taylor_softmax)(inputs)
    np.testing.assert_allclose(np.exp(np.asarray(logs)), weights, rtol=1e-5)
    assert (np.diff(weights) >= 0.0).all()
    np.testing.assert_allclose(weights, got / got.sum(), rtol=1e-6)
    grad = jax.jit(jax.grad(lambda x: monotone_taylor_exp(x).sum()))(inputs)
    np.testing.assert_allclose(grad, [0.0, 0.0, 0.0, 1.0, 2.0], atol=1e-6)


def test_half_precision_does_not_overflow_and_one_entry_takes_everything():
    inputs = np.array([300.0, -300.0], np.float16)
    got = taylor_softmax(inputs)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, [0.5033, 0.4967], atol=1e-4)
    np.testing.assert_array_equal(taylor_softmax(np.array([-7.0])), [1.0])


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="where must be bool"):
        taylor_softmax(np.zeros((2, 3)), where=np.ones(3, bool))
