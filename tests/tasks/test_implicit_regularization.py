import jax
import numpy as np
import pytest

from kexue_jax.tasks.implicit_regularization import (
    ImplicitRegularization,
    descended,
    flowed,
    product_slope,
    strengthening,
)

START = np.array([2.8, 3.5])


def slope(x, weight):
    """Gradient and Hessian times gradient of (0.6 - a b)^2 / 2, by hand."""
    (a, b), rest = x, x[0] * x[1] - 0.6
    g = rest * np.array([b, a])
    cross = a * b + rest
    return g + 2 * weight * np.array([[b * b, cross], [cross, a * a]]) @ g


def test_descent_and_the_penalised_slope_are_their_formulas():
    with jax.enable_x64(True):
        plain, penalised = product_slope(0.6), product_slope(0.6, 0.3)
        got, way = jax.jit(lambda x: (penalised(x), descended(plain, x, 0.01, 3)))(
            START
        )
    np.testing.assert_allclose(got, slope(START, 0.3), rtol=1e-6)
    x = START
    for place in way:
        np.testing.assert_allclose(place, x, rtol=1e-12)
        x = x - 0.01 * slope(x, 0.0)


def test_the_plain_flow_keeps_the_difference_of_squares_and_ends_where_it_must():
    with jax.enable_x64(True):
        way = jax.jit(lambda x: flowed(product_slope(0.6), x, 10.0, 4000))(START)
    a, b = np.asarray(way).T
    np.testing.assert_allclose(a**2 - b**2, -4.41, rtol=1e-6)
    np.testing.assert_allclose(a[-1] * b[-1], 0.6, rtol=1e-9)
    end = np.sqrt(4.41**2 + 4 * 0.36)
    np.testing.assert_allclose(a[-1] ** 2 + b[-1] ** 2, end, rtol=1e-6)


def test_momentum_strengthens_the_penalty_by_its_formula():
    with jax.enable_x64(True):
        found = [float(jax.jit(strengthening, static_argnums=0)(b)) for b in (0.0, 0.8)]
    np.testing.assert_allclose(found, [1.0, 9.0], rtol=2e-3)


@pytest.mark.slow
def test_scores_are_a_function_of_the_key(keys):
    task = ImplicitRegularization(draws=2, fineness=50, rates=(1e-2,), betas=(0.5,))
    one, two = next(keys), next(keys)
    scores = task.evaluate(*task.init(one))
    assert scores == task.evaluate(*task.init(one))
    other = task.evaluate(*task.init(two))
    assert {k for k in scores if scores[k] != other[k]} == {
        "starts/nearer",
        "error/plain_ratio",
        "error/modified_ratio",
    }
    assert len(task.exhibits(*task.init(two))) == 4


def test_settings_that_measure_nothing_are_refused():
    for options in (dict(rates=()), dict(rates=(0.0,)), dict(draws=0)):
        with pytest.raises(ValueError, match="rates must be positive"):
            ImplicitRegularization(**options)
