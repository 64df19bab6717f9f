from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.transport import optimal_transport

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")


def problems(keys, count=3, rows=4, columns=5):
    cost = jax.random.uniform(next(keys), (count, rows, columns))
    p = jax.nn.softmax(jax.random.normal(next(keys), (count, rows)))
    return cost, p, jax.nn.softmax(jax.random.normal(next(keys), (count, columns)))


both = pytest.mark.parametrize("implementation", ["host", "xla"])


@both
def test_many_problems_at_once_are_each_alone_under_jit_and_vmap(keys, implementation):
    cost, p, q = problems(keys)
    solve = partial(optimal_transport, implementation=implementation)
    whole = jax.jit(solve)(cost, p, q)
    apart = jax.jit(jax.vmap(solve))(cost, p, q)
    for x, y in zip(whole, apart, strict=True):
        np.testing.assert_array_equal(x, y)
    if implementation == "host":  # of the other its own test compiles single problems
        for x, y in zip(whole, solve(cost[1], p[1], q[1]), strict=True):
            np.testing.assert_array_equal(x[1], y)
    assert jnp.abs(whole.gap).max() < 1e-7
    np.testing.assert_allclose(
        jnp.sum(whole.plan * cost, (1, 2)), whole.cost, rtol=1e-6
    )


def test_both_implementations_agree_and_one_of_them_is_the_default(keys):
    cost, p, q = problems(keys)
    host, xla, default = (
        jax.jit(partial(optimal_transport, implementation=name))(cost, p, q)
        for name in ("host", "xla", None)
    )
    for x, y, z in zip(host, xla, default, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)
        assert np.array_equal(z, x) or np.array_equal(z, y)
    with pytest.raises(ValueError, match="host, xla or None, got 'gpu'"):
        optimal_transport(cost, p, q, implementation="gpu")


def test_bfloat16_goes_in_and_out(keys):
    cost, p, q = (x.astype(jnp.bfloat16) for x in problems(keys))
    p = p.at[:].set(0.25)
    q = jnp.full_like(q, 0.2)
    for name in ("host", "xla"):
        solve = jax.jit(partial(optimal_transport, implementation=name))
        found = solve(cost, p, q)
        assert all(x.dtype == jnp.bfloat16 for x in found)
        assert jnp.isfinite(found.cost).all()


@both
def test_derivatives_are_the_plan_and_the_potentials(keys, implementation):
    cost, p, q = (x[0] for x in problems(keys))
    solve = jax.jit(partial(optimal_transport, implementation=implementation))
    found = solve(cost, p, q)
    by_cost, by_mass = jax.grad(lambda c, m: solve(c, m, q).cost, (0, 1))(cost, p)
    np.testing.assert_array_equal(by_cost, found.plan)
    np.testing.assert_array_equal(by_mass, found.row_potential)
    shift = jnp.array([1e-3, -1e-3, 0.0, 0.0])
    moved = solve(cost, p + shift, q).cost - found.cost
    np.testing.assert_allclose(moved, shift @ found.row_potential, atol=1e-6)


def test_masses_of_other_sums_are_refused_or_nan(keys):
    cost, p, q = (x[0] for x in problems(keys))
    with pytest.raises(ValueError, match="the same sums"):
        optimal_transport(cost, 2 * p, q)
    with pytest.raises(ValueError, match="cost and q must be"):
        optimal_transport(cost, p, p)
    for name in ("host", "xla"):
        solve = jax.jit(partial(optimal_transport, implementation=name))
        assert all(jnp.isnan(x).all() for x in solve(cost, 2 * p, q))


def test_masses_that_a_compiled_function_closes_over_are_looked_at(keys):
    cost, p, q = problems(keys)
    solve = jax.jit(lambda c: optimal_transport(c, p, q, implementation="host").cost)
    assert jnp.isfinite(solve(cost)).all()
    wrong = -p
    with pytest.raises(ValueError, match="p must not be negative"):
        jax.jit(lambda c: optimal_transport(c, wrong, q).cost)(cost)
