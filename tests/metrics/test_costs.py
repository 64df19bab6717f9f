import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.directions import directions
from kexue_jax.metrics import costs
from kexue_jax.metrics.costs import lengths

cosine_costs = jax.jit(costs.cosine_costs)
euclidean_costs = jax.jit(costs.euclidean_costs, static_argnames="exact")
squared_euclidean_costs = jax.jit(
    costs.squared_euclidean_costs, static_argnames="exact"
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def vectors(size=30):
    x, y = normal(2, 6, size), normal(2, 4, size, seed=1)
    y[:, 1] = x[:, 3]
    return x, y


def slow(x, y):
    x, y = (np.asarray(a, np.float64) for a in (x, y))
    return np.linalg.norm(x[..., :, None, :] - y[..., None, :, :], axis=-1)


@pytest.mark.parametrize("exact", [False, True])
def test_distances_are_those_of_float64_and_zero_for_equal_vectors(exact):
    x, y = vectors()
    for far in (0.0, 100.0):  # a common part does not count
        found = np.asarray(euclidean_costs(x + far, y + far, exact=exact))
        error = 1e-6 if not far else 2e-4
        np.testing.assert_allclose(found, slow(x, y), rtol=error, atol=error)
        assert (found[:, 3, 1] == 0.0).all()
    square = squared_euclidean_costs(x, y, exact=exact)
    np.testing.assert_allclose(square, slow(x, y) ** 2, rtol=2e-6, atol=1e-5)


def test_in_few_dimensions_near_points_stay_apart_and_in_float64_by_products():
    x = normal(1, 5, 3)
    found = np.asarray(euclidean_costs(x, x + 1e-4))
    np.testing.assert_allclose(np.diagonal(found[0]), 1e-4 * 3**0.5, rtol=1e-2)
    with jax.enable_x64(True):
        wide = x.astype(np.float64)
        near = np.asarray(euclidean_costs(wide, wide + 1e-5, exact=False))
        np.testing.assert_allclose(np.diagonal(near[0]), 1e-5 * 3**0.5, rtol=1e-4)


@pytest.mark.parametrize("exact", [False, True])
def test_gradients_are_directions_and_zero_at_equal_vectors(exact):
    x, y = vectors()
    weight = normal(2, 6, 4, seed=2)

    def total(x, y):
        return jnp.sum(weight * euclidean_costs(x, y, exact=exact))

    slopes = jax.jit(jax.grad(total, (0, 1)))(x, y)
    away = np.asarray(x, np.float64)[:, :, None] - np.asarray(y, np.float64)[:, None]
    size = np.linalg.norm(away, axis=-1, keepdims=True)
    unit = np.where(size > 0, away / np.where(size > 0, size, 1), 0)
    pulled = weight[..., None] * unit
    np.testing.assert_allclose(slopes[0], pulled.sum(2), atol=2e-5)
    np.testing.assert_allclose(slopes[1], -pulled.sum(1), atol=2e-5)


def test_cosines_and_zero_vectors():
    x, y = vectors()
    x[:, 0] = 0.0
    found = np.asarray(cosine_costs(x, y))
    unit = [np.asarray(a, np.float64) for a in (x, y)]
    unit = [
        a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1e-9) for a in unit
    ]
    want = 1.0 - np.einsum("bmd,bnd->bmn", *unit)
    np.testing.assert_allclose(found, want, atol=1e-6)
    assert (found[:, 0] == 1.0).all()
    assert (found >= 0.0).all()
    for function in (lambda x: cosine_costs(x, y), lengths, directions):
        slope = jax.jit(jax.grad(lambda x, f=function: f(x).sum()))(x)
        assert np.isfinite(slope).all()


def test_bfloat16_is_widened_and_shapes_are_checked():
    x, y = vectors()
    assert euclidean_costs(x.astype(jnp.bfloat16), y).dtype == jnp.float32
    with pytest.raises(ValueError, match=r"x and y must be \[..., M, D\]"):
        euclidean_costs(x, y[0])
    with pytest.raises(ValueError, match="x and y must be"):
        cosine_costs(x, y[..., :-1])
