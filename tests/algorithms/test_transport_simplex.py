import numpy as np
import pytest
from scipy.optimize import linprog

from kexue_jax.algorithms import transport_simplex as module
from kexue_jax.algorithms.transport_simplex import transport_simplex

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")


def problem(kind, rows, columns):
    draws = np.random.default_rng(rows * 100 + columns)
    cost = draws.random((rows, columns))
    p, q = draws.random(rows) + 0.01, draws.random(columns) + 0.01
    if kind == "uniform":
        p, q = np.ones(rows), np.ones(columns)
    if kind == "ties":
        cost = draws.integers(0, 3, (rows, columns)).astype(float)
        p, q = draws.integers(0, 3, rows) + 0.0, draws.integers(0, 3, columns) + 0.0
        p[0], q[-1] = p[0] + 1, q[-1] + 1
    if kind == "zeros":
        cost = np.zeros((rows, columns))
    return cost, p / p.sum(), q / q.sum()


def slow(cost, p, q):
    """A general linear solver, without the last equality, which the others imply."""
    rows, columns = cost.shape
    sums = np.concatenate(
        [
            np.kron(np.eye(rows), np.ones(columns)),
            np.kron(np.ones(rows), np.eye(columns)),
        ]
    )
    right = np.concatenate([p, q])
    return linprog(cost.ravel(), A_eq=sums[:-1], b_eq=right[:-1]).fun


@pytest.mark.parametrize("kind", ["random", "uniform", "ties", "zeros"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (6, 6), (9, 4)])
def test_is_optimal_and_proves_it(kind, rows, columns):
    cost, p, q = problem(kind, rows, columns)
    found = transport_simplex(cost[None], p[None], q[None])
    plan, f, g, status, _ = (x[0] for x in found)
    assert status == 0
    value = (plan * cost).sum()
    np.testing.assert_allclose(value, slow(cost, p, q), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(value, p @ f + q @ g, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(plan.sum(1), p, atol=1e-14)
    np.testing.assert_allclose(plan.sum(0), q, atol=1e-14)
    assert (f[:, None] + g[None] - cost).max() < 1e-14
    assert (plan > 0).sum() <= rows + columns - 1


def test_what_has_no_mass_takes_no_part_whatever_it_costs():
    cost, p, q = problem("random", 4, 5)
    wide = np.pad(cost, ((0, 2), (0, 1)), constant_values=np.nan)
    p_wide, q_wide = np.pad(p, (0, 2)), np.pad(q, (0, 1))
    plan, f, g, status, _ = transport_simplex(wide[None], p_wide[None], q_wide[None])
    want = transport_simplex(cost[None], p[None], q[None])
    np.testing.assert_array_equal(plan[0, :4, :5], want[0][0])
    assert status == 0
    assert not plan[0, 4:].any()
    assert np.isfinite(f).all()
    assert np.isfinite(g).all()


def test_what_cannot_be_solved_is_said_and_is_zeros():
    cost, p, q = problem("random", 2, 2)
    costs = np.stack([cost, cost * np.inf, cost, cost])
    masses = np.stack([p, p, p * 2, p * 0])
    others = np.stack([q, q, q, q * 0])
    plan, _, _, status, _ = transport_simplex(costs, masses, others)
    assert status.tolist() == [0, 1, 2, 0]
    assert not plan[1:].any()
    with pytest.raises(ValueError, match=r"must be \[B, M, N\]"):
        transport_simplex(cost, p, q)


def test_without_numba_it_says_that_it_is_slow(monkeypatch):
    def lacking(name):
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", lacking)
    module._compiled.cache_clear()
    with pytest.warns(UserWarning, match="install numba"):
        plan, *_ = transport_simplex(np.ones((1, 1, 1)), *np.ones((2, 1, 1)))
    module._compiled.cache_clear()
    assert plan.item() == 1.0


def test_equal_points_and_equal_masses_come_to_an_end():
    """Many bases cost the same here, and sums of costs are no round numbers."""
    draws = np.random.default_rng(0)
    points = draws.normal(size=(5, 3))[draws.integers(0, 5, 24)]
    cost = np.linalg.norm(points[:, None] - points[None, ::-1], axis=-1)
    mass = np.full(24, 1 / 24)
    plan, f, g, status, pivots = transport_simplex(
        cost[None], *mass[None, None].repeat(2, 0)
    )
    assert status == 0
    assert pivots < 24 * 24
    np.testing.assert_allclose((plan[0] * cost).sum(), 0.0, atol=1e-14)
    np.testing.assert_allclose(mass @ f[0] + mass @ g[0], 0.0, atol=1e-13)
