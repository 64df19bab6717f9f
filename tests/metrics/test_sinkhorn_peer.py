"""Sinkhorn's iteration beside POT and ott-jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.sinkhorn import sinkhorn

pytestmark = pytest.mark.peer


def problem(rows=12, columns=9):
    draws = np.random.default_rng(0)
    cost = draws.random((rows, columns))
    return cost, draws.dirichlet(np.ones(rows)), draws.dirichlet(np.ones(columns))


@pytest.mark.parametrize("epsilon", [1.0, 0.1, 0.02])
def test_the_plan_is_that_of_pot(epsilon):
    ot = pytest.importorskip("ot")
    cost, p, q = problem()
    want = ot.sinkhorn(p, q, cost, epsilon, method="sinkhorn_log", stopThr=1e-11)
    with jax.enable_x64(True):
        made = [jnp.asarray(x) for x in (cost, p, q)]
        found = sinkhorn(*made, epsilon=epsilon, tolerance=1e-11)
    np.testing.assert_allclose(found.plan, want, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.1, 2.0])
def test_unbalanced_plans_are_those_of_pot(penalty):
    ot = pytest.importorskip("ot")
    cost, p, q = problem()
    q = 1.5 * q
    want = ot.unbalanced.sinkhorn_unbalanced(
        p, q, cost, 0.1, penalty, reg_type="kl", stopThr=1e-12, numItermax=10000
    )
    with jax.enable_x64(True):
        found = sinkhorn(
            *(jnp.asarray(x) for x in (cost, p, q)),
            epsilon=0.1,
            row_penalty=penalty,
            column_penalty=penalty,
            tolerance=1e-11,
        )
    np.testing.assert_allclose(found.plan, want, atol=1e-8)


def test_the_regularised_cost_is_that_of_ott():
    geometry = pytest.importorskip("ott.geometry.geometry")
    linear = pytest.importorskip("ott.solvers.linear")
    cost, p, q = (jnp.asarray(x, jnp.float32) for x in problem())
    made = geometry.Geometry(cost_matrix=cost, epsilon=0.1)
    with jax.numpy_rank_promotion("allow"):
        want = linear.solve(made, a=p, b=q, threshold=1e-5, max_iterations=10000)
        plan = want.matrix
    found = sinkhorn(cost, p, q, epsilon=0.1, tolerance=1e-5)
    np.testing.assert_allclose(found.plan, plan, atol=1e-5)
