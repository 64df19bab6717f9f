from functools import partial

import jax
import numpy as np
import pytest
import scipy.linalg

from kexue_jax.metrics import gaussian, gaussian_transport
from kexue_jax.metrics.covariance import Cholesky, Diagonal, LowRank, dense

gaussian_bhattacharyya = jax.jit(gaussian.gaussian_bhattacharyya)
gaussian_hellinger_squared = jax.jit(gaussian.gaussian_hellinger_squared)
gaussian_jeffreys = jax.jit(gaussian.gaussian_jeffreys)
gaussian_kl = jax.jit(gaussian.gaussian_kl)
gaussian_renyi = jax.jit(gaussian.gaussian_renyi, static_argnames="order")
kl_to_standard_normal = jax.jit(gaussian.kl_to_standard_normal)
optimal_map = jax.jit(gaussian_transport.optimal_map)
wasserstein2_barycentre = jax.jit(
    gaussian_transport.wasserstein2_barycentre, static_argnames="steps"
)
wasserstein2_geodesic = jax.jit(gaussian_transport.wasserstein2_geodesic)
wasserstein2_squared = jax.jit(gaussian_transport.wasserstein2_squared)
by_traces = jax.jit(gaussian_transport._by_traces)
renyi2 = jax.jit(partial(gaussian.gaussian_renyi, order=2.0))
renyi3 = jax.jit(partial(gaussian.gaussian_renyi, order=0.3))
DISTANCES = {
    "kl": gaussian_kl,
    "jeffreys": gaussian_jeffreys,
    "renyi": renyi3,
    "bhattacharyya": gaussian_bhattacharyya,
    "hellinger": gaussian_hellinger_squared,
    "wasserstein": wasserstein2_squared,
}
SLOPES = {f: jax.jit(jax.grad(f, (0, 1, 2, 3))) for f in (*DISTANCES.values(), renyi2)}
each = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)
FIXTURE = [
    np.array([1.0, 0.0, -1.0]),
    np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 0.5]]),
    np.array([0.0, 0.5, 0.0]),
    np.array([[1.0, -0.3, 0.1], [-0.3, 1.5, 0.0], [0.1, 0.0, 0.8]]),
]


def pair(rng, size, batch=()):
    """Two normal distributions as float64 arrays."""
    found = []
    for _ in range(2):
        root = rng.normal(size=(*batch, size, size))
        cov = root @ np.swapaxes(root, -1, -2) / size + 0.1 * np.eye(size)
        found += [rng.normal(size=(*batch, size)), cov]
    return found


def slow_wasserstein2_squared(mean_p, cov_p, mean_q, cov_q):
    root = scipy.linalg.sqrtm(cov_p)
    cross = scipy.linalg.sqrtm(root @ cov_q @ root)
    trace = np.trace(cov_p + cov_q - 2 * np.real(cross))
    return np.sum((mean_p - mean_q) ** 2) + trace


def single(arrays):
    return [np.asarray(x, np.float32) for x in arrays]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_closed_form_is_that_of_matrix_roots(size):
    rng = np.random.default_rng(size)
    for _ in range(5):
        arrays = pair(rng, size)
        got = wasserstein2_squared(*single(arrays))
        np.testing.assert_allclose(got, slow_wasserstein2_squared(*arrays), rtol=2e-5)


@pytest.mark.parametrize("rank", [5, 2])
def test_singular_values_and_eigenvalues_give_the_same_roots(rank):
    """Only one of the two is used on each platform; singular covariances, too."""
    with jax.enable_x64(True):
        root = np.random.default_rng(rank).normal(size=(2, 3, 5, rank))
        covs = root @ np.swapaxes(root, -1, -2)
        found, other = jax.jit(
            lambda p, q: (
                gaussian_transport._by_singular_values(p, q),
                gaussian_transport._by_eigenvalues(p, q),
            )
        )(*covs)
        want = np.linalg.svd(np.swapaxes(root[0], -1, -2) @ root[1], compute_uv=False)
        np.testing.assert_allclose(found, want.sum(axis=-1), rtol=1e-6)
        np.testing.assert_allclose(other, want.sum(axis=-1), rtol=1e-6)


@pytest.mark.parametrize("size", [2, 40])
def test_the_trace_errs_by_roundings_however_steep_the_spectrum(size):
    """Where eigenvalues are too small for it, singular values are taken."""
    draws = np.random.default_rng(size)
    turned = np.linalg.qr(draws.normal(size=(2, 5, size, size)))[0]
    for power in (0.5, 1.5, 4.0):
        spectrum = np.arange(1.0, size + 1.0) ** -power
        covs = turned * spectrum @ np.swapaxes(turned, -1, -2)
        covs = (0.5 * (covs + np.swapaxes(covs, -1, -2))).astype(np.float32)
        found = by_traces(*covs)
        with jax.enable_x64(True):
            exact = by_traces(*covs.astype(np.float64))
        factors = np.linalg.cholesky(covs.astype(np.float64))
        both = np.swapaxes(factors[0], -1, -2) @ factors[1]
        want = np.linalg.svd(both, compute_uv=False).sum(axis=-1)
        np.testing.assert_allclose(exact, want, rtol=1e-11)
        trace = np.trace(covs.sum(0), axis1=-2, axis2=-1).max()
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-6 * trace)


def test_a_trace_is_not_taken_for_roots_of_what_rounding_made():
    """A rank of 3 of 8: the test of the trace finds it, and so does its value."""
    root = np.random.default_rng(0).normal(size=(2, 4, 8, 3)).astype(np.float32)
    covs = root @ np.swapaxes(root, -1, -2)
    want = np.linalg.svd(np.swapaxes(root[0], -1, -2) @ root[1], compute_uv=False)
    found = by_traces(*covs)
    np.testing.assert_allclose(found, want.sum(axis=-1), rtol=2e-6)
    even = np.broadcast_to(np.eye(8, dtype=np.float32), covs[0].shape)
    traces = jax.jit(gaussian_transport._traces_of_roots)
    top, _, over = traces(covs[0])
    assert not (top * over <= gaussian_transport.LOSS * 8).any()
    top, roots, over = traces(4.0 * even)
    np.testing.assert_allclose(top, 4.0, rtol=1e-6)
    np.testing.assert_allclose(roots, 16.0, rtol=1e-6)
    np.testing.assert_allclose(over, 4.0, rtol=2e-3)
    top, roots, _ = traces(0.0 * even)
    assert not top.any()
    assert not roots.any()


def test_a_batch_is_its_members_under_jit():
    arrays = single(pair(np.random.default_rng(0), 3, (2, 4)))
    got = wasserstein2_squared(*arrays)
    want = [
        [wasserstein2_squared(*(x[i, j] for x in arrays)) for j in range(4)]
        for i in range(2)
    ]
    np.testing.assert_allclose(got, np.array(want), rtol=1e-5)


def test_it_is_symmetric_and_zero_only_between_equals():
    p, cov_p, q, cov_q = single(pair(np.random.default_rng(1), 4))
    there = float(wasserstein2_squared(p, cov_p, q, cov_q))
    np.testing.assert_allclose(
        there, wasserstein2_squared(q, cov_q, p, cov_p), rtol=1e-5
    )
    assert there > 0.1
    assert float(wasserstein2_squared(p, cov_p, p, cov_p)) < 1e-5


@pytest.mark.parametrize(
    "cov_q",
    [np.eye(3), np.zeros((3, 3)), np.diag([1.0, 0.0, 0.0])],
    ids=["equal", "point", "rank one"],
)
def test_gradients_are_finite_at_equal_and_singular_covariances(cov_q):
    arrays = single([np.zeros(3), np.eye(3), np.zeros(3), cov_q])
    grads = SLOPES[wasserstein2_squared](*arrays)
    assert all(np.isfinite(g).all() for g in grads)


def test_the_optimal_map_is_symmetric_and_leads_to_q():
    _, cov_p, _, cov_q = single(pair(np.random.default_rng(2), 5, (3,)))
    matrix = np.asarray(optimal_map(cov_p, cov_q))
    np.testing.assert_allclose(matrix, np.swapaxes(matrix, -1, -2), atol=2e-5)
    image = matrix @ cov_p @ matrix
    np.testing.assert_allclose(image, cov_q, rtol=1e-3, atol=1e-4)
    assert (np.linalg.eigvalsh(matrix) > 0).all()


def test_the_divergence_is_that_of_an_integral():
    x = np.linspace(-30, 30, 200001)
    for mean, scale in ((0.0, 1.0), (1.5, 0.3), (-2.0, 2.0)):
        p = np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
        log_ratio = 0.5 * x**2 - 0.5 * ((x - mean) / scale) ** 2 - np.log(scale)
        want = np.trapezoid(p * log_ratio, x)
        got = kl_to_standard_normal(*single([[mean], [-scale]]))
        np.testing.assert_allclose(got, [want], rtol=1e-5, atol=1e-6)


def test_the_divergence_of_a_point_is_finite_with_a_finite_gradient():
    point = np.zeros(1, np.float32)
    value = kl_to_standard_normal(point, point)
    slope = jax.jit(jax.grad(lambda s: kl_to_standard_normal(point, s).sum()))(point)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()


def turned(arrays):
    return arrays[2], arrays[3], arrays[0], arrays[1]


def test_the_fixture_of_many_digits():
    standard = [*FIXTURE[:2], np.zeros(3), np.eye(3)]
    wants = {
        "kl": (1.795145372578351, 1.364706582163903),
        "bhattacharyya": (0.426232583815567, 0.338106605535144),
        "wasserstein": (9.05 - 2 * 3.128377647427566, 2.371203571378070),
    }
    with jax.enable_x64(True):
        for name, (between, from_standard) in wants.items():
            found = [DISTANCES[name](*x) for x in (FIXTURE, standard)]
            np.testing.assert_allclose(found, (between, from_standard), rtol=1e-12)
        back = gaussian_kl(*turned(FIXTURE))
        np.testing.assert_allclose(back, 1.878933693010148, rtol=1e-12)
        found = gaussian_hellinger_squared(*FIXTURE)
        np.testing.assert_allclose(found, 0.347035544506313, rtol=1e-12)
        both = gaussian_jeffreys(*FIXTURE)
        np.testing.assert_allclose(both, 1.795145372578351 + back, rtol=1e-12)


@pytest.mark.parametrize("order", [0.3, 0.5, 2.0, 0.9999])
def test_the_divergence_of_renyi_is_that_of_an_integral(order):
    x = np.linspace(-40, 40, 400001)
    (m, s), (n, t) = (0.5, 1.2), (-0.3, 1.5)
    p, q = (
        np.exp(-0.5 * ((x - a) / b) ** 2) / (b * np.sqrt(2 * np.pi))
        for a, b in ((m, s), (n, t))
    )
    want = np.log(np.trapezoid(p**order * q ** (1 - order), x)) / (order - 1)
    arrays = [np.array([m]), np.array([[s**2]]), np.array([n]), np.array([[t**2]])]
    with jax.enable_x64(True):
        found = gaussian_renyi(*arrays, order=order)
        np.testing.assert_allclose(found, want, rtol=1e-8)
        if order == 0.9999:
            near = gaussian_kl(*arrays)
            np.testing.assert_allclose(found, near, rtol=1e-3)


@each
def test_first_derivatives_are_those_of_the_value(distance):
    with jax.enable_x64(True):
        slopes = [np.asarray(x) for x in SLOPES[distance](*FIXTURE)]
        draws = np.random.default_rng(0)
        for which in range(4):
            way = draws.normal(size=FIXTURE[which].shape)
            if way.ndim == 2:
                way = way + way.T
                np.testing.assert_allclose(slopes[which], slopes[which].T, atol=1e-12)
            ends = []
            for sign in (1e-5, -1e-5):
                moved = list(FIXTURE)
                moved[which] = FIXTURE[which] + sign * way
                ends.append(float(distance(*moved)))
            want = (ends[0] - ends[1]) / 2e-5
            np.testing.assert_allclose(np.sum(slopes[which] * way), want, rtol=1e-7)


whole = jax.jit(dense)


def kinds(draws, size=4, batch=(2,)):
    """The same two distributions, their covariances as every kind that holds them."""
    means = [draws.normal(size=(*batch, size)) for _ in range(2)]
    scales = [draws.uniform(0.5, 2.0, (*batch, size)) for _ in range(2)]
    factors = [draws.normal(size=(*batch, size, 2)) for _ in range(2)]
    narrow = [Diagonal(s) for s in scales]
    low = [LowRank(f, s**2) for f, s in zip(factors, scales, strict=True)]
    lower = [Cholesky(np.linalg.cholesky(whole(c))) for c in low]
    return means, narrow, low, lower


@each
def test_every_kind_of_covariance_gives_what_its_array_gives(distance):
    with jax.enable_x64(True):
        means, narrow, low, lower = kinds(np.random.default_rng(3))
        pairs = [narrow, low, lower, (narrow[0], low[1]), (lower[0], narrow[1])]
        for cov_p, cov_q in pairs:
            found = distance(means[0], cov_p, means[1], cov_q)
            want = distance(means[0], whole(cov_p), means[1], whole(cov_q))
            assert found.shape == (2,)
            np.testing.assert_allclose(found, want, rtol=1e-10)


@each
def test_equal_distributions_are_at_zero_with_finite_gradients(distance):
    mean, cov = single([np.zeros(3), np.eye(3)])
    assert abs(distance(mean, cov, mean, cov)) < 1e-6
    for slope in SLOPES[distance](mean, cov, mean, cov):
        np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_what_is_not_definite_is_without_end_apart_and_so_nowhere_nan():
    mean, cov, flat = single([np.zeros(3), np.eye(3), np.diag([1.0, 1.0, 0.0])])
    for distance in (gaussian_kl, gaussian_jeffreys, gaussian_bhattacharyya, renyi2):
        assert np.isposinf(distance(mean, flat, mean, cov))
        assert np.isposinf(distance(mean, cov, mean, flat))
        zero, one = map(Diagonal, single([[1.0, 0.0, 1.0], np.ones(3)]))
        assert np.isposinf(distance(mean, zero, mean, one))
        slopes = SLOPES[distance](mean, flat, mean, cov)
        assert all(np.isfinite(x).all() for x in slopes)
    assert float(gaussian_hellinger_squared(mean, flat, mean, cov)) == 1.0
    assert np.isfinite(renyi2(mean, 0.1 * cov, mean, cov))
    assert np.isposinf(renyi2(mean, 3.0 * cov, mean, cov))
    assert np.isnan(gaussian_kl(mean, np.nan * cov, mean, cov))


def test_points_are_moved_whole():
    mean_p, _, mean_q, cov_q = single(FIXTURE)
    none = np.zeros((3, 3), np.float32)
    shift = np.sum((mean_p - mean_q) ** 2)
    found = wasserstein2_squared(mean_p, none, mean_q, cov_q)
    np.testing.assert_allclose(found, shift + np.trace(cov_q), rtol=1e-6)
    back = wasserstein2_squared(mean_q, cov_q, mean_p, none)
    np.testing.assert_allclose(back, found, rtol=1e-6)
    both = wasserstein2_squared(mean_p, none, mean_q, none)
    np.testing.assert_allclose(both, shift, rtol=1e-6)
    slopes = SLOPES[wasserstein2_squared](mean_p, none, mean_q, cov_q)
    assert all(np.isfinite(x).all() for x in slopes)


def test_of_few_samples_the_form_of_eigenvalues_is_real():
    """The product of two covariances of low rank has roots that are not, in float32."""
    draws = np.random.default_rng(0)
    samples = draws.normal(size=(2, 20, 64))
    covs = [np.cov(x, rowvar=False) for x in samples]
    want = slow_wasserstein2_squared(np.zeros(64), covs[0], np.zeros(64), covs[1])
    found = wasserstein2_squared(
        *single([np.zeros(64), covs[0], np.zeros(64), covs[1]])
    )
    np.testing.assert_allclose(found, want, rtol=1e-4)


def test_inequalities_between_them():
    draws = np.random.default_rng(5)
    arrays = single(pair(draws, 4, (200,)))
    bhattacharyya = np.asarray(gaussian_bhattacharyya(*arrays))
    there, back = gaussian_kl(*arrays), gaussian_kl(*turned(arrays))
    assert (bhattacharyya <= 0.5 * np.minimum(there, back) + 1e-5).all()
    standard = [*arrays[:2], *single([np.zeros((1, 4)), np.eye(4)[None]])]
    divergence = np.asarray(gaussian_kl(*standard))
    talagrand = 2 * divergence - np.asarray(wasserstein2_squared(*standard))
    assert (talagrand > -1e-4).all()
    third = single(pair(draws, 4, (200,)))[:2]
    for square in (wasserstein2_squared, gaussian_hellinger_squared):
        sides = [
            np.sqrt(square(*one, *other))
            for one, other in (
                (arrays[:2], arrays[2:]),
                (arrays[:2], third),
                (third, arrays[2:]),
            )
        ]
        assert (sides[0] <= sides[1] + sides[2] + 1e-5).all()


def test_the_geodesic_divides_the_distance():
    arrays = single(FIXTURE)
    whole = np.sqrt(wasserstein2_squared(*arrays))
    for time in (0.0, 0.3, 1.0):
        between = wasserstein2_geodesic(*arrays, time)
        first = np.sqrt(wasserstein2_squared(*arrays[:2], *between))
        second = np.sqrt(wasserstein2_squared(*between, *arrays[2:]))
        np.testing.assert_allclose(first, time * whole, atol=2e-3)
        np.testing.assert_allclose(second, (1 - time) * whole, atol=2e-3)


def test_the_barycentre_of_two_lies_on_the_geodesic_and_its_map_is_the_identity():
    arrays = single(FIXTURE)
    means, covs = np.stack(arrays[::2]), np.stack(arrays[1::2])
    weights = np.array([0.7, 0.3], np.float32)
    mean, cov = wasserstein2_barycentre(means, covs, weights)
    want = wasserstein2_geodesic(*arrays, 0.3)
    np.testing.assert_allclose(mean, want[0], atol=1e-6)
    np.testing.assert_allclose(cov, want[1], atol=1e-4)
    maps = np.asarray(optimal_map(np.asarray(cov)[None], covs))
    np.testing.assert_allclose(np.tensordot(weights, maps, 1), np.eye(3), atol=1e-4)


def test_shapes_and_numbers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="of one size, got 3, 2, 3, 3"):
        wasserstein2_squared(np.zeros(3), np.eye(2), np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match=r"must be \[..., D, D\], got \(3, 2\)"):
        gaussian_kl(np.zeros(3), np.ones((3, 2)), np.zeros(3), np.eye(3))
    low = LowRank(np.ones((2, 1)), np.ones(3))
    with pytest.raises(ValueError, match="factor and variance must be"):
        gaussian_kl(np.zeros(3), low, np.zeros(3), np.eye(3))
    for order in (0.0, 1.0, -2.0):
        with pytest.raises(ValueError, match=f"order must be .* got {order}"):
            gaussian_renyi(*single(FIXTURE), order=order)
    with pytest.raises(ValueError, match="of one size, got 2 and 3"):
        optimal_map(np.eye(2), np.eye(3))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        wasserstein2_barycentre(np.ones((1, 2)), np.eye(2)[None], np.ones(1), steps=0)
