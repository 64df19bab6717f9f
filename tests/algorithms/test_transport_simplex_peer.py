"""The compiled simplex beside the network simplex of POT."""

import numpy as np
import pytest

from kexue_jax.algorithms import transport_simplex as module

pytestmark = pytest.mark.peer


def problems(kind, draws, count=200):
    for _ in range(count):
        rows, columns = draws.integers(1, 41, 2)
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


@pytest.mark.parametrize("kind", ["random", "uniform", "near", "ties", "zeros"])
def test_costs_what_the_network_simplex_of_pot_costs(kind):
    ot = pytest.importorskip("ot")
    pytest.importorskip("numba")
    assert module._compiled()[1]
    for cost, p, q in problems(kind, np.random.default_rng(0)):
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
