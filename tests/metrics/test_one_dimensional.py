from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics.one_dimensional import optimal_transport_1d

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")


def points(ties=False):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(3, 7)), draws.normal(size=(3, 5)) + 1.0
    if ties:
        x, y = np.round(x), np.round(y)
    p, q = draws.random((3, 7)), draws.random((3, 5))
    p[:, 2] = 0.0
    return x, y, p, q


@pytest.mark.parametrize("ties", [False, True])
def test_the_cost_of_power_one_is_that_of_scipy(ties):
    x, y, p, q = points(ties)
    with jax.enable_x64(True):
        found = optimal_transport_1d(*map(jnp.asarray, (x, y, p, q)))
        plain = jax.jit(optimal_transport_1d)(jnp.asarray(x), jnp.asarray(y))
    for at in range(3):
        want = scipy.stats.wasserstein_distance(x[at], y[at], p[at], q[at])
        np.testing.assert_allclose(found[at], want, rtol=1e-12)
        want = scipy.stats.wasserstein_distance(x[at], y[at])
        np.testing.assert_allclose(plain[at], want, rtol=1e-12)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_it_is_the_exact_transport_of_its_costs(power):
    x, y, p, q = points()
    cost = np.abs(x[:, :, None] - y[:, None]) ** power
    masses = [w / w.sum(1, keepdims=True) for w in (p, q)]
    plan, *_ = transport_simplex(cost, *masses)
    found = optimal_transport_1d(*map(jnp.asarray, (x, y, p, q)), power=power)
    np.testing.assert_allclose(found, (plan * cost).sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_derivatives_by_points_and_masses(power):
    x, y, p, q = (a[0] for a in points())
    with jax.enable_x64(True):
        at = [jnp.asarray(a) for a in (x, y, p, q)]

        def cost(*args):
            return optimal_transport_1d(*args, power=power)

        slopes = jax.grad(cost, (0, 1, 2, 3))(*at)
        draws = np.random.default_rng(1)
        for which in range(4):
            way = draws.normal(size=at[which].shape)
            ends = []
            for sign in (1e-6, -1e-6):
                moved = list(at)
                moved[which] = at[which] + sign * way * (at[which] != 0)
                ends.append(cost(*moved))
            want = (ends[0] - ends[1]) / 2e-6
            got = np.sum(slopes[which] * way * (at[which] != 0))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


def test_equal_points_single_points_and_nothing():
    x = jnp.array([1.0, 2.0, 2.0])
    assert optimal_transport_1d(x, x[::-1]) == 0.0
    for power in (1.0, 1.5, 2.0):
        cost = partial(optimal_transport_1d, power=power)
        assert all(np.isfinite(s).all() for s in jax.grad(cost, (0, 1))(x, x[::-1]))
    assert optimal_transport_1d(x[:1], jnp.array([4.0]), power=2.0) == 9.0
    assert optimal_transport_1d(x, x + 1.0, jnp.zeros(3)) == 0.0
    assert optimal_transport_1d(x.astype(jnp.bfloat16), x).dtype == jnp.float32


def test_what_does_not_fit_is_refused():
    x = jnp.ones((2, 3))
    with pytest.raises(ValueError, match="x and y must be"):
        optimal_transport_1d(x, jnp.ones(3))
    with pytest.raises(ValueError, match="y_weight must be"):
        optimal_transport_1d(x, x, None, jnp.ones(3))
    with pytest.raises(ValueError, match=r"power must be at least 1, got 0\.5"):
        optimal_transport_1d(x, x, power=0.5)
