import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics import one_dimensional

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")
transport_1d = one_dimensional.optimal_transport_1d
optimal_transport_1d = jax.jit(transport_1d, static_argnames="power")
slopes_by_points = jax.jit(jax.grad(transport_1d, (0, 1)), static_argnames="power")
slopes_by_all = jax.jit(jax.grad(transport_1d, (0, 1, 2, 3)), static_argnames="power")


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
        found = np.asarray(optimal_transport_1d(x, y, p, q))
        plain = np.asarray(optimal_transport_1d(x, y))
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
    found = optimal_transport_1d(x, y, p, q, power=power)
    np.testing.assert_allclose(found, (plan * cost).sum((1, 2)), rtol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_derivatives_by_points_and_masses(power):
    at = [a[0] for a in points()]
    with jax.enable_x64(True):
        slopes = slopes_by_all(*at, power=power)
        draws = np.random.default_rng(1)
        for which in range(4):
            way = draws.normal(size=at[which].shape)
            ends = []
            for sign in (1e-6, -1e-6):
                moved = list(at)
                moved[which] = at[which] + sign * way * (at[which] != 0)
                ends.append(float(optimal_transport_1d(*moved, power=power)))
            want = (ends[0] - ends[1]) / 2e-6
            got = np.sum(np.asarray(slopes[which]) * way * (at[which] != 0))
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-8)


def test_equal_points_single_points_and_nothing():
    x = np.array([1.0, 2.0, 2.0], np.float32)
    assert optimal_transport_1d(x, x[::-1]) == 0.0
    for power in (1.0, 1.5, 2.0):
        slopes = slopes_by_points(x, x[::-1], power=power)
        assert all(np.isfinite(s).all() for s in slopes)
    assert optimal_transport_1d(x[:1], x[:1] + 3.0, power=2.0) == 9.0
    assert optimal_transport_1d(x, x + 1.0, 0.0 * x) == 0.0
    assert optimal_transport_1d(x.astype(jnp.bfloat16), x).dtype == jnp.float32


def test_what_does_not_fit_is_refused():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="x and y must be"):
        optimal_transport_1d(x, np.ones(3))
    with pytest.raises(ValueError, match="y_weight must be"):
        optimal_transport_1d(x, x, None, np.ones(3))
    with pytest.raises(ValueError, match=r"power must be at least 1, got 0\.5"):
        optimal_transport_1d(x, x, power=0.5)
