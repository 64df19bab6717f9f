from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.algorithms import activations

algebraic_swish = jax.jit(activations.algebraic_swish)
gelu = jax.jit(activations.gelu)
gelu_minimax = jax.jit(activations.gelu_minimax)
gelu_sigmoid = jax.jit(activations.gelu_sigmoid)
gelu_tanh = jax.jit(activations.gelu_tanh, static_argnames="cubic")
inverse_squareplus = jax.jit(activations.inverse_squareplus)
squared_relu = jax.jit(activations.squared_relu)
squareplus = jax.jit(activations.squareplus)
softplus = jax.jit(jax.nn.softplus)

X = np.linspace(-8.0, 8.0, 4001)
ALL = [gelu, gelu_tanh, gelu_minimax, gelu_sigmoid, squareplus, algebraic_swish]


def test_squares_what_is_positive_and_drops_the_rest():
    inputs = np.array([-2.0, 0.0, 0.5, 3.0])
    np.testing.assert_allclose(squared_relu(inputs), [0.0, 0.0, 0.25, 9.0])


def test_the_gradient_is_zero_at_zero_and_keeps_the_dtype():
    grad = jax.jit(jax.grad(lambda x: squared_relu(x).sum()))(np.array([0.0, 2.0]))
    np.testing.assert_allclose(grad, [0.0, 4.0])
    assert squared_relu(np.ones(2, jnp.bfloat16)).dtype == jnp.bfloat16


def test_gelu_is_x_times_the_normal_distribution():
    got = gelu(np.float32(X))
    want = X * scipy.special.ndtr(X)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-7)


def test_gelu_has_no_cancellation_in_its_left_tail():
    got = gelu(np.array([-8.0, -12.0]))
    want = [-8.0 * scipy.special.ndtr(-8.0), -12.0 * scipy.special.ndtr(-12.0)]
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_gelu_has_its_minimum_and_its_derivative():
    place, least = -0.7517915, -0.1699712
    got, slope = jax.jit(jax.value_and_grad(gelu))(np.float32(place))
    np.testing.assert_allclose(got, least, atol=1e-6)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)
    x = np.linspace(-4.0, 4.0, 81)
    got = jax.jit(jax.vmap(jax.grad(gelu)))(np.float32(x))
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    want = scipy.special.ndtr(x) + x * density
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("ours", "approximate"), [(gelu, False), (gelu_tanh, True)])
def test_both_forms_of_jax_have_a_name_of_their_own(ours, approximate):
    x = np.float32(X)
    theirs = jax.jit(partial(jax.nn.gelu, approximate=approximate))
    got, want = ours(x), theirs(x)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ALL)
def test_a_gate_is_symmetric(activation):
    """x g(x) with g(x) + g(-x) = 1 has f(x) - f(-x) = x; SquarePlus has it too."""
    x = np.float32(X)
    both = np.asarray(activation(x)), np.asarray(activation(-x))
    np.testing.assert_allclose(both[0] - both[1], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("approximate", "in_cdf", "in_gelu", "place"),
    [
        (gelu_tanh, 1.7893e-4, 4.7324e-4, 2.699),
        (partial(gelu_tanh, cubic=0.0455399), 3.1347e-4, 7.4617e-4, 2.467),
        (gelu_sigmoid, 9.4863e-3, 2.0335e-2, 2.270),
        (partial(gelu_sigmoid, slope=1.5957691), 1.7671e-2, 3.3605e-2, None),
        (gelu_minimax, 1.4031e-4, 3.836e-4, None),
        (partial(gelu_tanh, cubic=0.0443829), None, 3.874e-4, None),
        (partial(gelu_sigmoid, slope=1.7729340), None, 1.3922e-2, None),
    ],
)
def test_the_greatest_errors_are_those_of_the_table(
    approximate, in_cdf, in_gelu, place
):
    x = np.linspace(1e-3, 8.0, 8001)
    got = np.float64(approximate(np.float32(x)))
    error = np.abs(got - x * scipy.special.ndtr(x))
    np.testing.assert_allclose(error.max(), in_gelu, rtol=0, atol=2e-6)
    if place is not None:
        np.testing.assert_allclose(x[error.argmax()], place, atol=2e-2)
    if in_cdf is not None:
        np.testing.assert_allclose((error / x).max(), in_cdf, rtol=0, atol=1e-6)


@pytest.mark.parametrize("activation", ALL)
def test_values_and_gradients_are_right_far_out(activation):
    x = np.array([-1e30, -1e10, -1e4, 0.0, 1e4, 1e10, 1e30], np.float32)
    value, grad = jax.jit(jax.vmap(jax.value_and_grad(activation)))(x)
    value = np.asarray(value)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(value[4:], x[4:], rtol=1e-6)
    np.testing.assert_allclose(value[:2], 0.0, atol=1e-9)
    np.testing.assert_allclose(grad, [0, 0, 0, 0.5, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("activation", ALL)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_dtypes_come_back_and_do_not_overflow_inside(activation, dtype):
    x = np.array([-1000.0, -3.0, 0.5, 300.0], dtype)  # x**2 and x**3 leave float16
    got = activation(x)
    assert got.dtype == dtype
    want = activation(x.astype(np.float32))
    np.testing.assert_allclose(np.float32(got), want, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("b", [0.3, 4.0, 4 * np.log(2) ** 2])
def test_squareplus_is_its_formula_also_where_the_formula_cancels(b):
    x = np.concatenate([X, [-1e4, -1e3, 1e4]])
    got = np.asarray(squareplus(np.float32(x), b))
    root = np.sqrt(x**2 + b)
    want = np.where(x < 0, b / 2 / (root - np.minimum(x, 0)), (x + root) / 2)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    near = jax.nn.squareplus(np.float32(X), b)
    np.testing.assert_allclose(got[: len(X)], near, rtol=1e-6, atol=1e-5)


def test_squareplus_keeps_what_the_plain_form_loses():
    got = squareplus(np.array([-1e4, -1e3]))
    np.testing.assert_allclose(got, [1e-4, 1e-3], rtol=1e-5)
    plain = np.asarray(jax.nn.squareplus(np.array([-1e4, -1e3], np.float32)))
    assert plain[0] == 0.0
    assert abs(plain[1] - 1e-3) > 5e-6
    far = jax.jit(jax.vmap(jax.grad(jax.nn.squareplus)))(np.array([-1e30, 1e30]))
    np.testing.assert_array_equal(far, [0.5, 0.5])


def test_products_and_bounds_of_squareplus():
    x, b = np.float32(X), 1.5
    got = np.asarray(squareplus(x, b))
    np.testing.assert_allclose(got * squareplus(-x, b), b / 4, rtol=1e-5)
    relu = np.maximum(x, 0)
    assert (got >= relu).all()
    assert (got <= relu + np.sqrt(b) / 2 + 1e-6).all()
    np.testing.assert_allclose(squareplus(3.0 * x, 9.0 * b), 3.0 * got, rtol=1e-5)
    np.testing.assert_allclose(inverse_squareplus(got, b), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("b", "error"),
    [(1.5238210, 0.0759315), (1.921812, 0.10387), (1.0, 0.19315), (4.0, 0.30685)],
)
def test_the_distance_to_softplus_is_that_of_the_table(b, error):
    x = np.float32(X)
    got = np.abs(np.asarray(squareplus(x, b)) - np.asarray(softplus(x))).max()
    np.testing.assert_allclose(got, error, atol=1e-5, rtol=0)


def test_from_four_times_the_squared_logarithm_on_it_is_above_softplus():
    x, bound = np.float32(X), 4 * np.log(2) ** 2
    lower = np.asarray(softplus(x))
    assert (np.asarray(squareplus(x, bound)) >= lower - 1e-6).all()
    assert (np.asarray(squareplus(x, 0.99 * bound)) < lower - 1e-4).any()


def test_all_derivatives_of_squareplus_are_those_of_the_formula():
    x, b = np.float64([-50.0, -2.0, 0.0, 0.7, 50.0]), 1.7
    root = np.sqrt(x**2 + b)
    at, number = np.float32(x), np.float32(b)
    by_b = jax.jit(jax.vmap(jax.grad(squareplus, argnums=1), (0, None)))(at, number)
    np.testing.assert_allclose(by_b, 0.25 / root, rtol=1e-5)
    second = jax.jit(jax.vmap(jax.grad(jax.grad(squareplus)), (0, None)))(at, number)
    np.testing.assert_allclose(second, b / 2 / root**3, rtol=1e-4, atol=1e-7)


def test_the_algebraic_swish_is_x_times_the_derivative_and_near_the_swish():
    x = np.float32(X)
    slope = jax.jit(jax.vmap(jax.grad(squareplus), (0, None)))(x, np.float32(2.043))
    got = np.asarray(algebraic_swish(x))
    np.testing.assert_allclose(got, x * np.asarray(slope), rtol=1e-5, atol=1e-6)
    apart = np.abs(got - np.asarray(jax.nn.swish(x))).max()
    np.testing.assert_allclose(apart, 0.0668, atol=5e-4)


@pytest.mark.parametrize(
    "activation", [activations.squareplus, activations.algebraic_swish]
)
def test_a_b_that_is_not_positive_is_refused(activation):
    with pytest.raises(ValueError, match="b must be positive, got 0"):
        activation(np.ones(2), 0.0)
