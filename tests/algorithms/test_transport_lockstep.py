import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from kexue_jax.algorithms.transport_lockstep import transport_lockstep

ROWS, COLUMNS = 9, 6
KINDS = ["random", "uniform", "ties", "zeros", "near", "far", "padded", "one"]


def problem(kind, draws):
    cost = draws.random((ROWS, COLUMNS))
    p, q = draws.random(ROWS) + 0.01, draws.random(COLUMNS) + 0.01
    if kind == "uniform":
        p, q = np.ones(ROWS), np.ones(COLUMNS)
    if kind == "ties":
        cost = draws.integers(0, 3, (ROWS, COLUMNS)).astype(float)
        p, q = draws.integers(0, 3, ROWS) + 0.0, draws.integers(0, 3, COLUMNS) + 0.0
        p[0], q[-1] = p[0] + 1, q[-1] + 1
    if kind == "zeros":
        cost = np.zeros((ROWS, COLUMNS))
    if kind == "near":
        points = draws.normal(size=(5, 3))
        x, y = points[draws.integers(0, 5, ROWS)], points[draws.integers(0, 5, COLUMNS)]
        cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
        p, q = np.ones(ROWS), np.ones(COLUMNS)
    if kind == "far":
        cost = cost + 100.0
    if kind == "padded":
        p[5:] = q[3:] = 0.0
    if kind == "one":
        p[:] = 0.0
        p[4] = 1.0
    # float32 first, so that both solvers see the same numbers
    p, q = (p / p.sum()).astype(np.float32), (q / q.sum()).astype(np.float32)
    return cost.astype(np.float32), p, q


def problems(count=4):
    draws = np.random.default_rng(0)
    made = [problem(kind, draws) for kind in KINDS for _ in range(count)]
    return [np.stack(part) for part in zip(*made, strict=True)]


def slow(cost, p, q):
    """A general linear solver, without the last equality, which the others imply."""
    cost, p, q = (np.asarray(x, np.float64) for x in (cost, p, q))
    sums = np.concatenate(
        [
            np.kron(np.eye(ROWS), np.ones(COLUMNS)),
            np.kron(np.ones(ROWS), np.eye(COLUMNS)),
        ]
    )
    right = np.concatenate([p / p.sum(), q / q.sum()])
    return linprog(cost.ravel(), A_eq=sums[:-1], b_eq=right[:-1]).fun


solve = jax.jit(transport_lockstep)


def test_every_kind_of_problem_is_optimal_and_proves_it():
    cost, p, q = problems()
    plan, f, g, status, pivots = jax.device_get(solve(cost, p, q))
    assert not status.any()
    assert 0 < np.max(pivots) < 60
    want = [slow(*one) for one in zip(cost, p, q, strict=True)]
    value = np.einsum("bmn,bmn->b", np.asarray(plan, np.float64), cost)
    np.testing.assert_allclose(value, want, rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(np.sum(plan, 2), p, atol=3e-7)
    np.testing.assert_allclose(np.sum(plan, 1), q, atol=3e-7)
    assert np.min(plan) >= 0.0
    assert (np.sum(np.asarray(plan) > 0.0, (1, 2)) <= ROWS + COLUMNS - 1).all()
    scale = np.abs(cost).max(axis=(1, 2))
    over = (np.asarray(f)[:, :, None] + np.asarray(g)[:, None] - cost).max(axis=(1, 2))
    assert (over <= 3e-7 * np.maximum(scale, 1.0)).all()
    least = np.einsum("bm,bm->b", p, f) + np.einsum("bn,bn->b", q, g)
    np.testing.assert_allclose(least, want, rtol=1e-6, atol=1e-6)


def test_problems_solved_together_are_each_alone():
    cost, p, q = (x[:12] for x in problems())
    whole = jax.device_get(solve(cost, p, q))
    for at in (0, 5, 11):
        alone = solve(cost[at : at + 1], p[at : at + 1], q[at : at + 1])
        alone = jax.device_get(alone)
        for x, y in zip(whole, alone, strict=True):
            np.testing.assert_array_equal(x[at], y[0])


def test_in_float64_nothing_but_its_rounding_is_left():
    with jax.enable_x64(True):
        draws = np.random.default_rng(1)
        cost = draws.random((8, ROWS, COLUMNS))
        p = draws.dirichlet(np.ones(ROWS), 8)
        q = draws.dirichlet(np.ones(COLUMNS), 8)
        plan, _, _, status, _ = jax.device_get(solve(cost, p, q))
        assert plan.dtype == np.float64
        assert not status.any()
        want = [slow(*one) for one in zip(cost, p, q, strict=True)]
        np.testing.assert_allclose(np.sum(plan * cost, (1, 2)), want, rtol=1e-10)
        np.testing.assert_allclose(np.sum(plan, 2), p, atol=1e-15)


def test_what_has_no_mass_takes_no_part_whatever_it_costs():
    cost, p, q = (x[:1] for x in problems())
    wide = np.pad(cost, ((0, 0), (0, 2), (0, 1)), constant_values=np.nan)
    p_wide, q_wide = np.pad(p, ((0, 0), (0, 2))), np.pad(q, ((0, 0), (0, 1)))
    found = jax.device_get(solve(wide, p_wide, q_wide))
    want = jax.device_get(solve(cost, p, q))
    np.testing.assert_allclose(found[0][0, :ROWS, :COLUMNS], want[0][0], atol=2e-7)
    assert not found[0][0, ROWS:].any()
    assert all(np.isfinite(x).all() for x in found)
    assert found[3][0] == 0


def test_what_cannot_be_solved_is_said_and_is_zeros():
    cost, p, q = (x[0] for x in problems())
    costs = np.stack([cost, cost * np.inf, cost, cost, cost, cost])
    masses = np.stack([p, p, p * 2, p * 0, -p, p * np.nan])
    others = np.stack([q, q, q, q * 0, q, q])
    plan, f, _, status, _ = jax.device_get(solve(costs, masses, others))
    assert status.tolist() == [0, 1, 2, 0, 2, 2]
    assert plan[0].any()
    assert not plan[1:].any()
    assert not f[1:].any()


def test_shapes_and_dtypes_must_agree():
    cost, p, q = (x[:1] for x in problems())
    with pytest.raises(ValueError, match=r"must be \[B, M, N\]"):
        transport_lockstep(cost, q, p)
    with pytest.raises(ValueError, match="float32 or all float64, got bfloat16"):
        transport_lockstep(cost.astype(jnp.bfloat16), p, q)
