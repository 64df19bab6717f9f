import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kexue_jax.metrics.sinkhorn import sinkhorn as eager
from kexue_jax.metrics.sinkhorn import sinkhorn_divergence
from kexue_jax.metrics.transport import optimal_transport

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")
M, N = 5, 7
FIXED = ("row_penalty", "column_penalty", "steps", "tolerance")
sinkhorn = jax.jit(eager, static_argnames=FIXED)
solve = jax.jit(optimal_transport, static_argnames="implementation")


def problems(count=3, seed=0):
    draws = np.random.default_rng(seed)
    cost = draws.random((count, M, N))
    p, q = draws.dirichlet(np.ones(M), count), draws.dirichlet(np.ones(N), count)
    return [x.astype(np.float32) for x in (cost, p, q)]


def slow(cost, p, q, epsilon, rows=np.inf, columns=np.inf, steps=3000):
    """Alternating updates in float64."""
    cost, p, q = (np.asarray(x, np.float64) for x in (cost, p, q))
    shares = [1.0 if r == np.inf else r / (r + epsilon) for r in (rows, columns)]
    g = np.zeros(len(q))
    for _ in range(steps):
        f = -shares[0] * epsilon * logsumexp((g - cost) / epsilon, axis=1, b=q)
        scores = (f[:, None] - cost) / epsilon
        g = -shares[1] * epsilon * logsumexp(scores, axis=0, b=p[:, None])
    return p[:, None] * q * np.exp((f[:, None] + g - cost) / epsilon), f, g


@pytest.mark.parametrize("penalties", [(None, None), (0.5, None), (0.3, 2.0)])
@pytest.mark.parametrize("epsilon", [1.0, 0.05])
def test_the_plan_is_that_of_alternating_updates(epsilon, penalties):
    cost, p, q = problems()
    options = dict(zip(("row_penalty", "column_penalty"), penalties, strict=True))
    found = jax.device_get(
        sinkhorn(cost, p, q, epsilon=epsilon, tolerance=2e-6, **options)
    )
    assert found.converged.all()
    ends = [np.inf if x is None else x for x in penalties]
    for at in range(3):
        plan, *_ = slow(cost[at], p[at], q[at], epsilon, *ends)
        np.testing.assert_allclose(found.plan[at], plan, atol=3e-6)
    moved = np.sum(found.plan * cost, (1, 2))
    np.testing.assert_allclose(found.cost, moved, rtol=1e-5)


def test_without_penalties_the_sums_are_those_wanted_and_the_cost_within_its_bound():
    cost, p, q = problems()
    least = solve(cost, p, q, implementation="host").cost
    gaps = []
    for epsilon in (1.0, 0.1, 0.01):
        found = jax.device_get(sinkhorn(cost, p, q, epsilon=epsilon))
        np.testing.assert_allclose(np.sum(found.plan, 1), q, atol=3e-6)
        assert (np.abs(np.sum(found.plan, 2) - p).sum(1) < 1e-4).all()
        gaps.append(found.cost - np.asarray(least))
        assert (gaps[-1] > -2e-5).all()
        assert (gaps[-1] < epsilon * np.log(M)).all()
    assert (gaps[2] < 0.2 * gaps[1]).all()
    assert (gaps[1] < gaps[0]).all()


def test_an_epsilon_without_end_gives_independent_masses():
    cost, p, q = problems()
    found = sinkhorn(cost, p, q, epsilon=1e6)
    np.testing.assert_allclose(found.plan, p[:, :, None] * q[:, None], atol=1e-6)


@pytest.mark.parametrize("penalties", [(None, None), (0.3, 2.0)])
def test_derivatives_are_those_of_the_value(penalties):
    with jax.enable_x64(True):
        cost, p, q = (x[0].astype(np.float64) for x in problems())
        p, q = p / p.sum(), q / q.sum()

        @jax.jit
        def value(cost, p, q, epsilon):
            rows, columns = penalties
            return sinkhorn(
                cost,
                p,
                q,
                epsilon=epsilon,
                row_penalty=rows,
                column_penalty=columns,
                tolerance=1e-12,
                steps=100000,
            ).value

        at = (cost, p, q, np.asarray(0.1))
        slopes = jax.jit(jax.grad(value, (0, 1, 2, 3)))(*at)
        draws = np.random.default_rng(2)
        for which in range(4):
            way = draws.normal(size=at[which].shape)
            if which in (1, 2):  # masses keep their sum, as without penalties they must
                way = way - way.mean()
            ends = []
            for sign in (1.0, -1.0):
                moved = list(at)
                moved[which] = at[which] + sign * 1e-4 * way
                ends.append(float(value(*moved)))
            want = (ends[0] - ends[1]) / 2e-4
            got = np.sum(np.asarray(slopes[which]) * way)
            np.testing.assert_allclose(got, want, rtol=1e-5)


def test_what_has_no_mass_takes_no_part_whatever_it_costs():
    cost, p, q = problems()
    wide = np.pad(cost, ((0, 0), (0, 2), (0, 1)), constant_values=np.nan)
    p_wide, q_wide = np.pad(p, ((0, 0), (0, 2))), np.pad(q, ((0, 0), (0, 1)))
    found = jax.device_get(sinkhorn(wide, p_wide, q_wide, epsilon=0.05))
    want = sinkhorn(cost, p, q, epsilon=0.05)
    np.testing.assert_allclose(found.plan[:, :M, :N], want.plan, atol=1e-6)
    np.testing.assert_allclose(found.value, want.value, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in found)

    @jax.jit
    @jax.grad
    def slope(cost):
        return sinkhorn(cost, p_wide, q_wide, epsilon=0.05).value.sum()

    assert np.isfinite(slope(wide)).all()


def test_nothing_to_move_and_nothing_that_can_be():
    cost, p, q = (x[0] for x in problems())
    empty = sinkhorn(cost, 0 * p, 0 * q, epsilon=0.1)
    assert all(np.isfinite(np.asarray(x)).all() for x in empty)
    assert not np.asarray(empty.plan).any()
    cost[0, 0] = np.inf
    lost = sinkhorn(cost, p, q, epsilon=0.1)
    assert np.isnan(lost.value)


def test_it_says_when_it_has_not_converged_and_small_epsilons_stay_finite():
    cost, p, q = problems()
    few = sinkhorn(cost, p, q, epsilon=1e-4, steps=30)
    assert not np.asarray(few.converged).any()
    many = sinkhorn(cost, p, q, epsilon=1e-3)
    assert all(np.isfinite(np.asarray(x)).all() for x in many)
    assert many.converged.all()
    assert (np.asarray(few.iterations) < np.asarray(many.iterations)).all()


def test_each_problem_stops_by_itself_and_gives_what_it_gives_alone():
    cost, p, q = problems()
    epsilon = np.array([1.0, 0.1, 0.01], np.float32)
    found = jax.device_get(sinkhorn(cost, p, q, epsilon=epsilon))
    assert found.iterations[0] < found.iterations[2]
    alone = sinkhorn(cost[1], p[1], q[1], epsilon=0.1)
    for x, y in zip(found, alone, strict=True):
        np.testing.assert_allclose(x[1], y, rtol=1e-4, atol=1e-6)
    apart = jax.jit(jax.vmap(lambda *args: sinkhorn(*args[:3], epsilon=args[3])))
    for x, y in zip(found, apart(cost, p, q, epsilon), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def test_the_divergence_is_zero_for_equal_distributions_and_has_a_gradient():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 2)).astype(np.float32)
    y = y + 1.0
    even = np.full(6, 1 / 6, np.float32)

    @jax.jit
    def apart(x, y):
        costs = [
            jnp.sum((a[:, None] - b[None]) ** 2, -1) for a in (x, y) for b in (x, y)
        ]
        return sinkhorn_divergence(
            costs[1], costs[0], costs[3], even, even, epsilon=0.5, tolerance=1e-6
        )

    slope = jax.jit(jax.grad(apart))
    assert abs(float(apart(x, x))) < 1e-5
    far = float(apart(x, y))
    assert far > 0.1
    assert float(apart(x - 0.01 * np.asarray(slope(x, y)), y)) < far
    np.testing.assert_allclose(slope(x, x), 0.0, atol=1e-5)


def test_bfloat16_goes_in_and_out():
    cost, p, q = (x.astype(jnp.bfloat16) for x in problems())
    found = sinkhorn(cost, p, q, epsilon=0.1)
    assert found.plan.dtype == jnp.bfloat16
    assert found.converged.all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(epsilon=0.0), "epsilon must be positive, got 0.0"),
        (dict(epsilon=1.0, row_penalty=-1.0), "row_penalty must be positive"),
        (dict(epsilon=1.0, steps=0), "steps must be positive"),
        (dict(epsilon=1.0, tolerance=0.0), "tolerance must be positive"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        eager(*jax.device_put(problems()), **options)


def test_shapes_that_disagree_are_refused():
    cost, p, q = problems()
    with pytest.raises(ValueError, match=r"must be \[..., M, N\]"):
        sinkhorn(cost, q, p, epsilon=0.1)


def test_masses_that_cannot_be_moved_are_refused_or_nan():
    cost, p, q = problems()
    with pytest.raises(ValueError, match="must have the same sums"):
        eager(cost, 2 * p, q, epsilon=0.1)
    with pytest.raises(ValueError, match="p must not be negative"):
        eager(cost, -p, q, epsilon=0.1, row_penalty=1.0)
    for wrong in (2 * p, -p):
        found = sinkhorn(cost, wrong, q, epsilon=0.1)
        assert np.isnan(found.value).all()
        assert np.isnan(found.plan).all()
        assert not np.asarray(found.converged).any()
    unequal = sinkhorn(cost, 2 * p, q, epsilon=0.1, row_penalty=1.0)
    assert np.isfinite(unequal.value).all()
