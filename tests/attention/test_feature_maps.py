import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.feature_maps import (
    ScaledFeatures,
    cosine_features,
    elu_plus_one,
    exp_features,
    projected,
    relu_features,
    taylor_features,
)


@functools.partial(jax.jit, static_argnames=("feature_map", "order", "eps"))
def features_of(feature_map, *arrays, **options):
    """Features as the map gives them, in one program."""
    return feature_map(*arrays, **options)


MAPS = (elu_plus_one, exp_features, relu_features, cosine_features, taylor_features)


def whole(features):
    return features.product() if isinstance(features, ScaledFeatures) else features


def pair(size=5, shape=(7,)):
    return np.random.default_rng(0).normal(size=(2, *shape, size)).astype(np.float32)


@functools.partial(jax.jit, static_argnums=0)
def similarity(feature_map, x, y):
    return jnp.sum(whole(feature_map(x)) * whole(feature_map(y)), axis=-1)


def taylor(x, order):
    return sum(x**n / math.factorial(n) for n in range(order + 1))


def test_elu_plus_one_and_exp_and_relu_are_their_formulas():
    x = 2.0 * pair()[0]
    wide = np.asarray(x, np.float64)
    elu = np.where(wide > 0, wide + 1, np.exp(wide))
    np.testing.assert_allclose(features_of(elu_plus_one, x), elu, rtol=1e-6)
    got = jax.jit(lambda x: whole(exp_features(x)))(x)
    np.testing.assert_allclose(got, np.exp(wide), rtol=2e-6)
    relu = np.maximum(wide, 0) + 0.1
    got = features_of(relu_features, x, eps=0.1)
    np.testing.assert_allclose(got, relu, rtol=1e-6)


def test_relu_features_of_a_projection_are_those_of_the_projected_rows():
    x, rows = pair()
    got = features_of(relu_features, x, rows)
    want = np.maximum(np.float64(x) @ np.float64(rows).T, 0) + 1e-3
    assert got.shape == (7, 7)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_largest_value_of_exp_features_is_one_at_any_size():
    x = 1e4 * pair()[0]
    values, log_scale = jax.device_get(features_of(exp_features, x))
    np.testing.assert_array_equal(values.max(axis=-1), 1.0)
    np.testing.assert_array_equal(log_scale[..., 0], x.max(axis=-1))


def test_cosine_features_multiply_to_one_plus_the_cosine_at_any_length():
    x, y = pair()
    a, b = np.float64(x), np.float64(y)
    cosine = np.sum(a * b, -1) / np.linalg.norm(a, axis=-1)
    want = 1 + cosine / np.linalg.norm(b, axis=-1)
    for size in (1e-30, 1.0, 1e30):
        got = similarity(cosine_features, np.float32(size) * x, y)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_cosine_kernel_does_not_see_a_rotation_of_both():
    x, y = pair()
    turn, _ = np.linalg.qr(pair(shape=(5,))[0])
    got = similarity(cosine_features, x @ turn, y @ turn)
    np.testing.assert_allclose(got, similarity(cosine_features, x, y), atol=1e-6)


def test_a_zero_row_has_no_direction_and_no_gradient():
    @jax.jit
    def with_gradient(x):
        out, pull = jax.vjp(cosine_features, x)
        return out, pull(jnp.ones_like(out))[0]

    out, slope = with_gradient(np.zeros((2, 3), np.float32))
    np.testing.assert_array_equal(out, [[1, 0, 0, 0]] * 2)
    assert not np.asarray(slope).any()


@pytest.mark.parametrize("order", [2, 4, 6])
def test_taylor_features_multiply_to_the_expansion_of_exp(order):
    x, y = pair(size=3)
    got = similarity(lambda z: taylor_features(z, order=order), x, y)
    dots = np.sum(np.float64(x) * np.float64(y), -1)
    np.testing.assert_allclose(got, taylor(dots, order), rtol=2e-5)
    made = jax.eval_shape(functools.partial(taylor_features, order=order), x)
    assert made.shape[-1] == math.comb(3 + order, order)


def test_taylor_features_are_the_monomials_in_lexical_order():
    x = pair(size=3)[0]
    got = features_of(taylor_features, x, order=4)
    wide, want = np.float64(x), []
    for n in range(5):
        for factors in itertools.combinations_with_replacement(range(3), n):
            counts = [math.factorial(factors.count(i)) for i in range(3)]
            monomial = np.prod(wide[:, list(factors)], axis=-1)
            want.append(monomial / math.sqrt(math.prod(counts)))
    np.testing.assert_allclose(got, np.stack(want, -1), rtol=1e-5, atol=1e-6)


def test_second_order_features_are_not_repeated():
    # 153 at head size 16, where the tensor power has 273.
    assert jax.eval_shape(taylor_features, jnp.ones(16)).shape == (153,)


@pytest.mark.parametrize("feature_map", MAPS)
def test_a_map_keeps_leading_axes_and_is_float32_under_jit_and_grad(feature_map):
    x = pair(size=4, shape=(2, 1, 3))[0].astype(jnp.bfloat16)
    features = jax.tree.leaves(features_of(feature_map, x))
    assert all(f.dtype == jnp.float32 and f.shape[:-1] == (2, 1, 3) for f in features)
    many = jax.tree.leaves(jax.jit(jax.vmap(feature_map))(x))
    np.testing.assert_allclose(many[0], features[0], rtol=1e-6)
    slope = jax.jit(jax.grad(lambda z: similarity(feature_map, z, x).sum()))
    assert slope(x).dtype == jnp.bfloat16


@functools.partial(jax.jit, static_argnums=0)
@functools.partial(jax.grad, argnums=1)
def slope_of_equal_rows(feature_map, x):
    return similarity(feature_map, x, x).sum()


@pytest.mark.parametrize("feature_map", MAPS)
@pytest.mark.parametrize("size", [0.0, 1.0, 8.0])
def test_gradients_are_finite_for_equal_and_zero_rows(feature_map, size):
    x = np.full((2, 4), size, np.float32)
    assert np.isfinite(slope_of_equal_rows(feature_map, x)).all()


def test_what_no_map_can_be_is_refused():
    x = np.ones((3, 4))
    with pytest.raises(ValueError, match="odd expansions become negative; got 3"):
        taylor_features(x, order=3)
    with pytest.raises(ValueError, match="got 0"):
        taylor_features(x, order=0)
    with pytest.raises(ValueError, match="814385 features"):
        taylor_features(np.ones(64), order=4)
    with pytest.raises(ValueError, match=r"\[M, H\] with H = 4, got \(2, 5\)"):
        projected(x, np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"eps must not be negative, got -0\.1"):
        relu_features(x, eps=-0.1)


def test_elu_plus_one_has_one_derivative_at_zero():
    points = np.array([-1e-6, 0.0, 1e-6], np.float32)
    slopes = jax.jit(jax.vmap(jax.grad(elu_plus_one)))(points)
    np.testing.assert_allclose(slopes, 1.0, rtol=1e-5)
