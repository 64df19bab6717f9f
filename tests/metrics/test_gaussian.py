import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from kexue_jax.metrics.gaussian import (
    kl_to_standard_normal,
    optimal_map,
    wasserstein2_squared,
)


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
    return [jnp.asarray(x, jnp.float32) for x in arrays]


@pytest.mark.parametrize("size", [1, 2, 7])
def test_the_closed_form_is_that_of_matrix_roots(size):
    rng = np.random.default_rng(size)
    for _ in range(5):
        arrays = pair(rng, size)
        got = wasserstein2_squared(*single(arrays))
        np.testing.assert_allclose(got, slow_wasserstein2_squared(*arrays), rtol=2e-5)


def test_a_batch_is_its_members_under_jit():
    arrays = single(pair(np.random.default_rng(0), 3, (2, 4)))
    got = jax.jit(wasserstein2_squared)(*arrays)
    want = [
        [wasserstein2_squared(*(x[i, j] for x in arrays)) for j in range(4)]
        for i in range(2)
    ]
    np.testing.assert_allclose(got, np.array(want), rtol=1e-5)


def test_it_is_symmetric_and_zero_only_between_equals():
    p, cov_p, q, cov_q = single(pair(np.random.default_rng(1), 4))
    there = wasserstein2_squared(p, cov_p, q, cov_q)
    np.testing.assert_allclose(
        there, wasserstein2_squared(q, cov_q, p, cov_p), rtol=1e-5
    )
    assert there > 0.1
    assert wasserstein2_squared(p, cov_p, p, cov_p) < 1e-5


@pytest.mark.parametrize(
    "cov_q",
    [np.eye(3), np.zeros((3, 3)), np.diag([1.0, 0.0, 0.0])],
    ids=["equal", "point", "rank one"],
)
def test_gradients_are_finite_at_equal_and_singular_covariances(cov_q):
    mean, cov_q = jnp.zeros(3), jnp.asarray(cov_q, jnp.float32)
    grads = jax.grad(wasserstein2_squared, argnums=(0, 1, 2, 3))(
        mean, jnp.eye(3), mean, cov_q
    )
    assert all(jnp.isfinite(g).all() for g in grads)


def test_the_optimal_map_is_symmetric_and_leads_to_q():
    _, cov_p, _, cov_q = single(pair(np.random.default_rng(2), 5, (3,)))
    matrix = optimal_map(cov_p, cov_q)
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
        got = kl_to_standard_normal(jnp.array([mean]), jnp.array([-scale]))
        np.testing.assert_allclose(got, [want], rtol=1e-5, atol=1e-6)


def test_the_divergence_of_a_point_is_finite_with_a_finite_gradient():
    value, grad = jax.value_and_grad(
        lambda s: kl_to_standard_normal(jnp.zeros(1), s).sum()
    )(jnp.zeros(1))
    assert jnp.isfinite(value)
    assert jnp.isfinite(grad).all()


def test_shapes_that_disagree_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\), \(2, 2\)"):
        wasserstein2_squared(jnp.zeros(3), jnp.eye(2), jnp.zeros(3), jnp.eye(3))
