from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.transport import optimal_transport

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")
solve = jax.jit(optimal_transport, static_argnames="implementation")


def problems(count=3, rows=4, columns=5):
    draws = np.random.default_rng(0)
    cost = draws.random((count, rows, columns))
    masses = (draws.dirichlet(np.ones(n), count) for n in (rows, columns))
    return [x.astype(np.float32) for x in (cost, *masses)]


both = pytest.mark.parametrize("implementation", ["host", "xla"])


@both
def test_many_problems_at_once_are_each_alone_under_jit_and_vmap(implementation):
    cost, p, q = problems()
    alone = partial(optimal_transport, implementation=implementation)
    whole = jax.device_get(solve(cost, p, q, implementation=implementation))
    apart = jax.jit(jax.vmap(alone))(cost, p, q)
    for x, y in zip(whole, apart, strict=True):
        np.testing.assert_array_equal(x, y)
    if implementation == "host":  # of the other its own test compiles single problems
        for x, y in zip(whole, alone(cost[1], p[1], q[1]), strict=True):
            np.testing.assert_array_equal(x[1], y)
    assert np.abs(whole.gap).max() < 1e-7
    np.testing.assert_allclose(np.sum(whole.plan * cost, (1, 2)), whole.cost, rtol=1e-6)


def test_both_implementations_agree_and_one_of_them_is_the_default():
    cost, p, q = problems()
    host, xla, default = (
        solve(cost, p, q, implementation=name) for name in ("host", "xla", None)
    )
    for x, y, z in zip(host, xla, default, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
        assert np.array_equal(z, x) or np.array_equal(z, y)
    with pytest.raises(ValueError, match="host, xla or None, got 'gpu'"):
        optimal_transport(cost, p, q, implementation="gpu")


def test_bfloat16_goes_in_and_out():
    cost, p, q = (x.astype(jnp.bfloat16) for x in problems())
    p[:] = 0.25
    q[:] = 0.2
    for name in ("host", "xla"):
        found = solve(cost, p, q, implementation=name)
        assert all(x.dtype == jnp.bfloat16 for x in found)
        assert np.isfinite(np.float32(found.cost)).all()


@both
def test_derivatives_are_the_plan_and_the_potentials(implementation):
    cost, p, q = (x[0] for x in problems())

    def price(cost, p):
        return solve(cost, p, q, implementation=implementation).cost

    found = jax.device_get(solve(cost, p, q, implementation=implementation))
    by_cost, by_mass = jax.jit(jax.grad(price, (0, 1)))(cost, p)
    np.testing.assert_array_equal(by_cost, found.plan)
    np.testing.assert_array_equal(by_mass, found.row_potential)
    shift = np.array([1e-3, -1e-3, 0.0, 0.0], np.float32)
    again = solve(cost, p + shift, q, implementation=implementation)
    moved = np.asarray(again.cost) - found.cost
    np.testing.assert_allclose(moved, shift @ found.row_potential, atol=1e-6)


def test_masses_of_other_sums_are_refused_or_nan():
    cost, p, q = (x[0] for x in problems())
    with pytest.raises(ValueError, match="the same sums"):
        optimal_transport(cost, 2 * p, q)
    with pytest.raises(ValueError, match="cost and q must be"):
        optimal_transport(cost, p, p)
    for name in ("host", "xla"):
        found = solve(cost, 2 * p, q, implementation=name)
        assert all(np.isnan(x).all() for x in found)


@pytest.mark.parametrize("kind", [np.asarray, jax.device_put])
def test_masses_that_a_compiled_function_closes_over_are_looked_at(kind):
    cost, p, q = problems()
    p, q, wrong = kind(p), kind(q), kind(-p)
    closed = jax.jit(lambda c: optimal_transport(c, p, q, implementation="host").cost)
    assert np.isfinite(closed(cost)).all()
    with pytest.raises(ValueError, match="p must not be negative"):
        jax.jit(lambda c: optimal_transport(c, wrong, q).cost)(cost)
