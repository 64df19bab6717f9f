import math
from decimal import Decimal, localcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import pdist
from scipy.special import gammaln, ive
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from kexue_jax.algorithms import johnson_lindenstrauss as jl
from kexue_jax.algorithms.random_projection import gaussian_projection, project

TABLE = {
    32: -7.77471,
    64: -15.4734,
    96: -23.1726,
    128: -30.8718,
    256: -61.6692,
    512: -123.264,
}


def far_from_one(size, epsilon):
    """The exact probability, of a chi-square distribution."""
    square = scipy.stats.chi2(size)
    return square.cdf(size * (1.0 - epsilon)) + square.sf(size * (1.0 + epsilon))


@pytest.mark.parametrize(
    ("size", "epsilon", "exact", "bound"),
    [(200, 0.3, 0.003181, 0.211), (50, 0.5, 0.013789, 0.419)],
)
def test_lengths_are_far_from_one_as_often_as_chi_squares_and_less_than_bounds(
    size, epsilon, exact, bound
):
    want = far_from_one(size, epsilon)
    assert abs(want - exact) < 5e-7
    assert abs(jl.norm_tail_bound(size=size, epsilon=epsilon) - bound) < 5e-4
    sharper = jl.norm_chernoff_bound(size=size, epsilon=epsilon)
    assert want < sharper < jl.norm_tail_bound(size=size, epsilon=epsilon)
    count = 20_000
    x = jax.random.normal(jax.random.key(0), (count, size)) / math.sqrt(size)
    x = np.asarray(x)
    far = np.mean(np.abs(np.sum(np.square(x), axis=1) - 1.0) >= epsilon)
    assert abs(far - want) < 5.0 * math.sqrt(want / count)


def test_random_vectors_are_orthogonal_as_often_as_the_bound_says():
    size, epsilon, count = 100, 0.3, 20_000
    u, v = jax.random.normal(jax.random.key(1), (2, count, size)) / math.sqrt(size)
    far = np.mean(np.abs(np.sum(u * v, axis=1)) >= epsilon)
    bound = jl.orthogonality_tail_bound(size=size, epsilon=epsilon)
    assert 0.0 < far < bound
    assert bound == 2.0 * jl.norm_tail_bound(size=size, epsilon=epsilon)


def test_bounds_hold_for_all_sizes():
    for size in (1, 2, 10, 100, 1000):
        for epsilon in (0.01, 0.1, 0.5, 0.9, 0.99):
            sharper = jl.norm_chernoff_bound(size=size, epsilon=epsilon)
            simple = jl.norm_tail_bound(size=size, epsilon=epsilon)
            assert far_from_one(size, epsilon) <= sharper <= simple


def test_dimensions_of_the_lemma_make_its_failures_as_rare_as_it_says():
    for points in (2, 10, 1000):
        for epsilon in (0.05, 0.3, 0.9):
            size = jl.lemma_dimension(points=points, epsilon=epsilon)
            options = dict(points=points, size=size, epsilon=epsilon)
            assert jl.distances_failure_bound(**options) < 1.0 / points
            assert jl.inner_products_failure_bound(**options) < 2.0 / points
            options["size"] = jl.existence_dimension(points=points, epsilon=epsilon)
            assert jl.distances_failure_bound(**options) < 1.0 - 1.0 / points + 1e-12


def test_constants_of_the_three_dimensions():
    for epsilon, tight, all_pairs in ((0.1, 857, 2400), (0.3, 111, 267), (0.5, 48, 96)):
        points = 10**9
        log = math.log(points)
        options = dict(points=points, epsilon=epsilon)
        assert round(jl.dasgupta_gupta_dimension(**options) / log) == tight
        assert round(jl.lemma_dimension(**options) / log) == all_pairs
        share = jl.existence_dimension(**options) / jl.lemma_dimension(**options)
        assert abs(share - 2.0 / 3.0) < 1e-3
    assert jl.lemma_dimension(points=100, epsilon=0.3) == 1229
    assert jl.existence_dimension(points=100, epsilon=0.3) == 819
    assert jl.lemma_dimension(points=1, epsilon=0.3) == 1


def test_the_tighter_dimension_is_that_of_scikit_learn_rounded_up():
    for points in (2, 10, 1797, 10**6):
        for epsilon in (0.05, 0.1, 0.5, 0.99):
            ours = jl.dasgupta_gupta_dimension(points=points, epsilon=epsilon)
            theirs = johnson_lindenstrauss_min_dim(points, eps=epsilon)
            assert ours == theirs + 1


@partial(jax.jit, static_argnames="sizes")
def worst_distortions(rng, x, sizes):
    found = []
    for size in sizes:
        down = gaussian_projection(rng, input_size=x.shape[1], output_size=size)
        ratios = jl.squared_distance_ratios(x, project(down, x))
        found.append(jnp.max(jnp.abs(ratios - 1.0)))
    return jnp.stack(found)


@pytest.mark.slow
def test_the_lemma_is_conservative_by_these_numbers():
    """Means of 200 draws are 0.155, 0.192, 0.273, 0.395 and 0.575."""
    sizes, means = (1229, 819, 410, 205, 103), (0.155, 0.192, 0.273, 0.395, 0.575)
    x = jax.random.normal(jax.random.key(0), (100, 2000))
    keys = jax.random.split(jax.random.key(1), 10)
    found = np.array([worst_distortions(key, x, sizes) for key in keys])
    error = found.std(axis=0) / math.sqrt(len(keys) - 1)
    assert (np.abs(found.mean(axis=0) - np.array(means)) < 4.5 * error + 5e-4).all()
    assert (found[:, :2] < 0.3).all()
    assert (found[:, 3:] > 0.3).all()


def test_projections_fail_less_often_than_the_bounds_say():
    points, size, epsilon, count = 10, 200, 0.5, 400
    x = jax.random.normal(jax.random.key(2), (points, 16))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)

    @jax.jit
    def failures(key):
        def one(key):
            y = project(gaussian_projection(key, input_size=16, output_size=size), x)
            ratios = jl.squared_distance_ratios(x, y)
            inner = jnp.abs(y @ y.T - x @ x.T) * (1.0 - jnp.eye(points))
            return jnp.max(jnp.abs(ratios - 1.0)) > epsilon, jnp.max(inner) > epsilon

        return jax.lax.map(one, jax.random.split(key, count), batch_size=100)

    distances, inner = (np.mean(found) for found in failures(jax.random.key(3)))
    options = dict(points=points, size=size, epsilon=epsilon)
    assert distances <= jl.distances_failure_bound(**options) < 0.2
    assert inner <= jl.inner_products_failure_bound(**options) < 0.4


@pytest.mark.parametrize(("size", "value"), TABLE.items())
def test_entropies_are_those_of_the_post_and_of_bessel_functions(size, value):
    found = jl.spherical_entropy(size=size)
    assert float(f"{found:.6g}") == value
    order = 0.5 * size - 1.0
    log_bessel = math.log(ive(order, size)) + size
    ratio = ive(order + 1.0, size) / ive(order, size)
    want = gammaln(0.5 * size) + order * math.log(2.0 / size) + log_bessel
    np.testing.assert_allclose(found, want - size * ratio, rtol=1e-11)


@pytest.mark.parametrize("size", [1, 2, 3, 700, 5000])
def test_entropies_are_exact_from_one_dimension_to_many(size):
    with localcontext(prec=40):
        term, total, mean = Decimal(1), Decimal(1), Decimal(0)
        for k in range(1, int(0.31 * size + 20 * math.sqrt(size) + 60)):
            term *= Decimal(size * size) / 4 / (k * (k - 1 + Decimal(size) / 2))
            total, mean = total + term, mean + k * term
        want = float(total.ln() - 2 * mean / total)
    np.testing.assert_allclose(jl.spherical_entropy(size=size), want, rtol=1e-13)


def test_the_entropy_of_vectors_that_are_drawn(keys):
    n, count = 6, 200_000
    v = jax.random.normal(next(keys), (count, n))
    v = math.sqrt(n) * v / jnp.linalg.norm(v, axis=1, keepdims=True)
    score = math.sqrt(n) * np.asarray(v[:, 0], np.float64)
    power = np.exp(score)
    want = math.log(power.mean()) - (power * score).mean() / power.mean()
    assert abs(jl.spherical_entropy(size=n) - want) < 0.05


def test_entropies_fall_at_a_rate_that_gives_the_factor():
    rate = 0.5 * math.log((1.0 + math.sqrt(5.0)) / 2.0)
    assert abs(jl.spherical_entropy(size=10**6) / 10**6 + rate) < 1e-6
    assert abs(rate - 0.240606) < 5e-7
    assert abs(jl.ENTROPY_FACTOR - 2.0 / rate) < 1e-12
    assert round(jl.ENTROPY_FACTOR, 4) == 8.3123
    assert round(2.0 / 0.24, 2) == jl.ROUNDED_ENTROPY_FACTOR


def test_words_and_heads_need_the_dimensions_of_the_posts():
    for count, rounded, exact in ((100_000, 95.9, 96), (5_000_000, 128.5, 128)):
        found = jl.embedding_dimension(count=count, factor=8.33)
        assert round(found, 1) == rounded
        assert jl.least_entropy_dimension(count=count) == exact
    assert round(jl.embedding_dimension(count=512, factor=8.33), 2) == 51.97
    assert jl.least_entropy_dimension(count=512) == 52


@pytest.mark.parametrize("count", [1, 2, 3, 50, 1000, 10**6])
def test_the_least_dimension_is_the_first_of_negative_entropy(count):
    size = jl.least_entropy_dimension(count=count)
    assert jl.joint_entropy(count=count, size=size) < 0.0
    assert size == 1 or jl.joint_entropy(count=count, size=size - 1) >= 0.0


def test_ratios_are_those_of_scipys_distances_and_one_for_equal_points():
    draws = np.random.default_rng(0)
    x, y = (draws.normal(size=size).astype(np.float32) for size in ((6, 4), (6, 3)))
    x[3] = x[1]
    ratios = jax.jit(jl.squared_distance_ratios)
    got = ratios(x, y)
    own, other = (pdist(np.float64(a), "sqeuclidean") for a in (x, y))
    want = np.where(own > 0.0, other / np.where(own > 0.0, own, 1.0), 1.0)
    assert (own == 0.0).sum() == 1
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert ratios(x[:1], y[:1]).shape == (0,)


def test_numbers_out_of_range_are_refused():
    for epsilon in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=rf"epsilon must lie .*got {epsilon}"):
            jl.norm_tail_bound(size=3, epsilon=epsilon)
        with pytest.raises(ValueError, match="epsilon must lie"):
            jl.dasgupta_gupta_dimension(points=3, epsilon=epsilon)
    with pytest.raises(ValueError, match="size must be positive, got 0"):
        jl.norm_chernoff_bound(size=0, epsilon=0.5)
    with pytest.raises(ValueError, match="points must be positive, got 0"):
        jl.lemma_dimension(points=0, epsilon=0.5)
    with pytest.raises(ValueError, match="points must be positive, got 0"):
        jl.distances_failure_bound(points=0, size=1, epsilon=0.5)
    with pytest.raises(ValueError, match="size must be positive, got 0"):
        jl.spherical_entropy(size=0)
    with pytest.raises(ValueError, match="count must be positive, got 0"):
        jl.least_entropy_dimension(count=0)
    with pytest.raises(ValueError, match=r"factor must be positive .*got -1"):
        jl.embedding_dimension(count=3, factor=-1.0)
    with pytest.raises(ValueError, match=r"got \(3, 2\), \(4, 2\)"):
        jl.squared_distance_ratios(np.ones((3, 2)), np.ones((4, 2)))
