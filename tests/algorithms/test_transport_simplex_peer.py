"""Exact transport, compiled on the host and in XLA, beside the simplex of POT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms import transport_simplex as module
from kexue_jax.algorithms.transport_lockstep import transport_lockstep

pytestmark = pytest.mark.peer


KINDS = ["random", "uniform", "near", "ties", "zeros"]


def problems(kind, draws, count, most=128):
    """Problems of 1 to `most` rows and columns, small ones more often."""
    for _ in range(count):
        rows, columns = np.exp(draws.uniform(0.0, np.log(most + 1), 2)).astype(int)
        cost = draws.random((rows, columns))
        p, q = draws.random(rows) + 1e-3, draws.random(columns) + 1e-3
        if kind in ("uniform", "near"):
            p, q = np.ones(rows), np.ones(columns)
        if kind == "near":
            x, y = draws.normal(size=(rows, 5)), draws.normal(size=(columns, 5))
            cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
        if kind == "ties":
            cost = draws.integers(0, 3, (rows, columns)).astype(float)
            p, q = (draws.integers(0, 3, n).astype(float) for n in (rows, columns))
            p[0], q[-1] = p[0] + 1, q[-1] + 1
        if kind == "zeros":
            cost = np.zeros((rows, columns))
        yield cost, p / p.sum(), q / q.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_costs_what_the_network_simplex_of_pot_costs(kind):
    ot = pytest.importorskip("ot")
    pytest.importorskip("numba")
    assert module._compiled()[1]
    for cost, p, q in problems(kind, np.random.default_rng(0), 2000):
        found = module.transport_simplex(cost[None], p[None], q[None])
        plan, f, g, status, _ = (x[0] for x in found)
        assert status == 0
        value = (plan * cost).sum()
        np.testing.assert_allclose(value, ot.emd2(p, q, cost), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(value, p @ f + q @ g, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(plan.sum(1), p, atol=1e-13)
        np.testing.assert_allclose(plan.sum(0), q, atol=1e-13)
        assert (f[:, None] + g[None] - cost).max() < 1e-13


def test_many_problems_on_threads_are_each_alone():
    pytest.importorskip("numba")
    draws = np.random.default_rng(1)
    cost = draws.random((100, 12, 9))
    p, q = draws.dirichlet(np.ones(12), 100), draws.dirichlet(np.ones(9), 100)
    whole = module.transport_simplex(cost, p, q, workers=4)
    alone = module.transport_simplex(cost, p, q, workers=1)
    for x, y in zip(whole, alone, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_in_lockstep_it_costs_the_same_to_what_float32_can_tell(kind):
    ot = pytest.importorskip("ot")
    made = list(problems(kind, np.random.default_rng(2), 200, most=40))
    cost, p, q = np.zeros((200, 40, 40)), *np.zeros((2, 200, 40))
    for at, (one, left, right) in enumerate(made):
        cost[at, : len(left), : len(right)] = one
        p[at, : len(left)], q[at, : len(right)] = left, right
    arrays = [jnp.asarray(x, jnp.float32) for x in (cost, p, q)]
    plan, f, g, status, _ = jax.jit(transport_lockstep)(*arrays)
    assert not np.asarray(status).any()
    value = np.einsum("bmn,bmn->b", np.asarray(plan, np.float64), arrays[0])
    for at, (one, left, right) in enumerate(made):
        want = ot.emd2(left, right, one)
        np.testing.assert_allclose(value[at], want, rtol=1e-6, atol=2e-7 * one.max())
        least = left @ f[at, : len(left)] + right @ g[at, : len(right)]
        np.testing.assert_allclose(least, want, rtol=2e-6, atol=1e-6 * one.max())
