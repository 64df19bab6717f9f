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


def test_many_problems_at_once_are_each_alone_under_jit_and_vmap(keys):
    cost, p, q = problems(keys)
    whole = jax.jit(optimal_transport)(cost, p, q)
    apart = jax.vmap(optimal_transport)(cost, p, q)
    one = optimal_transport(cost[1], p[1], q[1])
    for x, y, z in zip(whole, apart, one, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(x[1], z)
    assert jnp.abs(whole.gap).max() < 1e-7
    np.testing.assert_allclose(
        jnp.sum(whole.plan * cost, (1, 2)), whole.cost, rtol=1e-6
    )


def test_derivatives_are_the_plan_and_the_potentials(keys):
    cost, p, q = (x[0] for x in problems(keys))
    found = optimal_transport(cost, p, q)
    by_cost, by_mass = jax.grad(lambda c, m: optimal_transport(c, m, q).cost, (0, 1))(
        cost, p
    )
    np.testing.assert_array_equal(by_cost, found.plan)
    np.testing.assert_array_equal(by_mass, found.row_potential)
    shift = jnp.array([1e-3, -1e-3, 0.0, 0.0])
    moved = optimal_transport(cost, p + shift, q).cost - found.cost
    np.testing.assert_allclose(moved, shift @ found.row_potential, atol=1e-6)


def test_masses_of_other_sums_are_refused_or_nan(keys):
    cost, p, q = (x[0] for x in problems(keys))
    with pytest.raises(ValueError, match="the same sums"):
        optimal_transport(cost, 2 * p, q)
    with pytest.raises(ValueError, match="cost and q must be"):
        optimal_transport(cost, p, p)
    assert jnp.isnan(jax.jit(optimal_transport)(cost, 2 * p, q).cost)
