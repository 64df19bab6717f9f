import math

import numpy as np
import pytest
import scipy.special

from kexue_jax.algorithms import activation_constants as room


@pytest.mark.parametrize(
    ("derive", "parameters", "error", "digits"),
    [
        (room.gelu_tanh_constant, [0.0447149], 3.5784e-4, 1e-7),
        (room.gelu_sigmoid_constant, [1.7017449], 9.4573e-3, 5e-7),
        (room.gelu_minimax_constants, [1.597603, 0.0705641], 1.4031e-4, 5e-7),
        (room.squareplus_constant, [1.52382103], 0.075931, 5e-8),
        (room.algebraic_swish_constant, [2.043], 0.06683, 5e-5),
    ],
)
def test_the_search_finds_the_constants(derive, parameters, error, digits):
    found = derive()
    np.testing.assert_allclose(found.parameters, parameters, atol=digits, rtol=0)
    np.testing.assert_allclose(found.error, error, rtol=1e-4)
    assert len(found.points) == len(parameters) + 1


def test_the_famous_digits_are_the_rounded_ones():
    assert abs(room.gelu_tanh_constant().parameters[0] - 0.044715) < 1e-6
    assert round(room.gelu_sigmoid_constant().parameters[0], 3) == 1.702


def test_errors_at_the_best_constants_are_equal_with_signs_in_turn():
    found = room.gelu_minimax_constants()
    x, (a, b) = found.points, found.parameters
    errors = scipy.special.ndtr(x) - scipy.special.expit(a * x + b * x**3)
    signs = errors / np.abs(errors)
    np.testing.assert_allclose(np.abs(errors), found.error, rtol=1e-8)
    np.testing.assert_array_equal(signs[1:], -signs[:-1])
    found = room.squareplus_constant()
    x, b = found.points, found.parameters[0]
    np.testing.assert_allclose(x, [0.0, 3.56], atol=5e-3)
    errors = (x + np.sqrt(x**2 + b)) / 2 - np.log1p(np.exp(x))
    np.testing.assert_allclose(errors, [-found.error, found.error], rtol=1e-8)


def test_the_local_constant_matches_the_third_derivative():
    c = room.gelu_tanh_local_constant()
    np.testing.assert_allclose(c, 0.0455399, atol=5e-8)
    # erf(x / sqrt 2) and tanh(s (x + c x**3)) begin with s x and then these.
    slope = math.sqrt(2 / math.pi)
    np.testing.assert_allclose(slope * c - slope**3 / 3, -slope / 6, rtol=1e-12)


def test_the_bound_of_squareplus_is_four_times_the_square_of_the_logarithm_of_two():
    got = room.squareplus_bound_constant()
    np.testing.assert_allclose(got, 4 * math.log(2) ** 2, rtol=1e-12)
    np.testing.assert_allclose(got, 1.921812, atol=5e-7)
