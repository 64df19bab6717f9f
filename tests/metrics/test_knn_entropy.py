import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from kexue_jax.metrics.knn_entropy import knn_entropy

both = pytest.mark.parametrize("implementation", ["host", "xla"])
FIXED = ("k", "period", "block", "implementation", "least")
estimate = jax.jit(knn_entropy, static_argnames=FIXED)
with_slope = jax.jit(jax.value_and_grad(knn_entropy), static_argnames=FIXED)


def slow(x, k, period=None):
    x = np.asarray(x, np.float64)
    count, size = x.shape
    away = x[:, None] - x[None]
    if period is not None:
        away -= period * np.round(away / period)
    far = np.sort(np.linalg.norm(away, axis=2), axis=1)[:, k]
    ball = 0.5 * size * np.log(np.pi) - gammaln(0.5 * size + 1)
    return size * np.log(far).mean() + ball + digamma(count) - digamma(k)


@both
@pytest.mark.parametrize(("k", "size"), [(1, 1), (3, 2), (12, 5)])
def test_it_is_the_formula_for_every_neighbour_in_blocks(implementation, k, size):
    x = np.random.default_rng(k).normal(size=(70, size)).astype(np.float32) + 3.0
    for block in (16, 512):
        found = estimate(x, k=k, block=block, implementation=implementation)
        np.testing.assert_allclose(found, slow(x, k), rtol=1e-5)


@pytest.mark.parametrize(("k", "count"), [(1, 640), (5, 641), (11, 1000)])
def test_neighbours_are_found_in_groups_of_any_number(k, count):
    """More groups than neighbours, fewer, and the last one not full."""
    x = np.random.default_rng(k).normal(size=(count, 11)).astype(np.float32)
    for period in (None, 4.0):
        found = estimate(x, k=k, period=period, implementation="xla")
        np.testing.assert_allclose(found, slow(x, k, period), rtol=1e-5)


@both
def test_on_a_circle_distances_go_the_shorter_way(implementation):
    x = np.random.default_rng(0).uniform(0, 2.0, (60, 2)).astype(np.float32)
    found = estimate(x, k=2, period=2.0, implementation=implementation)
    np.testing.assert_allclose(found, slow(x, 2, 2.0), rtol=1e-5)
    again = estimate(x + 0.7, k=2, period=2.0, implementation=implementation)
    np.testing.assert_allclose(again, found, rtol=1e-4)


@pytest.mark.parametrize(
    ("size", "count", "mean", "spread"),
    [(1, 1000, 1.4165, 0.055), (2, 1000, 2.811, 0.058), (8, 128, 11.377, 0.242)],
)
def test_of_normal_samples_it_is_where_it_was_measured(size, count, mean, spread):
    draws = np.random.default_rng(1).normal(size=(20, count, size))
    found = [float(estimate(x.astype(np.float32))) for x in draws]
    error = spread * (1 / 20 + 1 / 50) ** 0.5
    assert abs(np.mean(found) - mean) < 4 * error


def test_in_many_dimensions_it_overshoots():
    x = np.random.default_rng(2).normal(size=(128, 128)).astype(np.float32)
    found = float(estimate(x))
    assert abs(found - 208.8) < 4 * 0.74
    assert found > 181.62 + 20


def test_scaling_shifting_and_turning():
    draws = np.random.default_rng(3)
    x = draws.normal(size=(80, 3)).astype(np.float32)
    found = float(estimate(x))
    wide = estimate(2.5 * x - 4.0)
    np.testing.assert_allclose(wide, found + 3 * np.log(2.5), rtol=1e-5)
    turn = np.linalg.qr(draws.normal(size=(3, 3)))[0]
    np.testing.assert_allclose(estimate(x @ turn), found, rtol=1e-4)


@both
def test_the_gradient_is_that_of_the_post_and_keeps_its_sums(implementation):
    x = np.random.default_rng(4).normal(size=(50, 3))
    with jax.enable_x64(True):
        slope = np.asarray(with_slope(x, implementation=implementation)[1])
    far, near = cKDTree(x).query(x, 2)
    pull = (x - x[near[:, 1]]) / far[:, 1:] ** 2
    want = pull.copy()
    np.add.at(want, near[:, 1], -pull)
    np.testing.assert_allclose(slope, 3 / 50 * want, rtol=1e-9)
    np.testing.assert_allclose(np.sum(slope, 0), 0.0, atol=1e-10)
    np.testing.assert_allclose(np.sum(x * slope), 3.0, rtol=1e-10)


@both
def test_equal_samples_are_finite_and_have_no_gradient(implementation):
    x = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2, np.float32)
    for k in (1, 2, 5):
        value, slope = with_slope(x, k=k, implementation=implementation)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
    assert not np.any(with_slope(x)[1])
    assert np.isfinite(estimate(x.astype(jnp.bfloat16)))


def test_what_does_not_fit_is_refused():
    x = np.ones((5, 2), np.float32)
    for options, message in (
        (dict(k=5), "k must be from 1 to n - 1, got 5 for 5 samples"),
        (dict(k=0), "k must be from 1"),
        (dict(block=0), "must be positive, got 0"),
        (dict(period=-1.0), "must be positive"),
        (dict(implementation="gpu"), "host, xla or None"),
    ):
        with pytest.raises(ValueError, match=message):
            knn_entropy(x, **options)
    with pytest.raises(ValueError, match=r"x must be \[n, d\] floating"):
        knn_entropy(x[0])
