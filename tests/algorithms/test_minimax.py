import numpy as np
import pytest

from kexue_jax.algorithms.minimax import minimax


def test_the_best_line_below_a_parabola_is_that_of_chebyshev():
    def error(parameters, x):
        return x**2 - (parameters[0] + parameters[1] * x)

    found = minimax(error, np.array([1.0, 0.3]), np.linspace(0.0, 2.0, 401))
    np.testing.assert_allclose(found.parameters, [-0.5, 2.0], atol=1e-9)
    np.testing.assert_allclose(found.error, 0.5, rtol=1e-12)
    np.testing.assert_allclose(found.points, [0.0, 1.0, 2.0], atol=1e-9)


def test_extrema_between_the_points_of_the_grid_are_found():
    def error(parameters, x):
        return np.exp(x) - (parameters[0] + parameters[1] * x)

    found = minimax(error, np.array([1.0, 1.0]), np.linspace(0.0, 1.0, 2000))
    slope = np.e - 1.0
    middle = np.log(slope)
    np.testing.assert_allclose(found.parameters[1], slope, rtol=1e-10)
    np.testing.assert_allclose(found.points[1], middle, atol=1e-7)
    values = error(found.parameters, found.points)
    np.testing.assert_allclose(values, found.error * np.array([1, -1, 1]), rtol=1e-10)


def test_an_error_of_one_sign_is_refused():
    with pytest.raises(ValueError, match="2 extrema"):
        minimax(lambda p, x: 1.0 + (p[0] - 1) ** 2 + x, np.ones(1), np.linspace(0, 1))
