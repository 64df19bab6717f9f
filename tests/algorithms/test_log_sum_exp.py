import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kexue_jax.algorithms.log_sum_exp import log_one_plus_sum_exp, log_sum_exp

FORMS = [log_sum_exp, log_one_plus_sum_exp]
SLOPED = {f: jax.jit(jax.vmap(jax.value_and_grad(f))) for f in FORMS}


def test_values_and_slopes_are_those_of_scipy_and_softmax():
    scores = np.random.default_rng(0).normal(size=(3, 7)) * 20.0
    scores[1, 2:] = -np.inf
    for form, extra in zip(FORMS, ([], [0.0]), strict=True):
        with jax.enable_x64(True):
            value, slope = jax.device_get(SLOPED[form](scores))
        for row, found, own in zip(scores, value, slope, strict=True):
            want = logsumexp(np.append(row, extra))
            np.testing.assert_allclose(found, want, rtol=1e-12)
            np.testing.assert_allclose(own, np.exp(row - want), rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_no_slope_is_nan_where_nothing_or_something_infinite_is_there(form):
    rows = np.array([[-np.inf, -np.inf], [np.inf, 0.0], [3e38, -3e38]], np.float32)
    value, slope = jax.device_get(SLOPED[form](rows))
    nothing = -np.inf if form is log_sum_exp else 0.0
    np.testing.assert_array_equal(value, np.array([nothing, np.inf, 3e38], np.float32))
    np.testing.assert_array_equal(slope, [[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    curve = jax.jit(jax.hessian(form))(rows[0])
    assert not curve.any()


def test_a_tiny_sum_keeps_its_digits():
    scores = np.array([-40.0, -41.0], np.float32)
    want = np.exp(-40.0) + np.exp(-41.0)
    np.testing.assert_allclose(jax.jit(log_one_plus_sum_exp)(scores), want, rtol=1e-5)


def test_an_axis_of_length_0_is_an_empty_sum():
    nothing = jnp.zeros((2, 0))
    assert log_one_plus_sum_exp(nothing).tolist() == [0.0, 0.0]
    assert log_sum_exp(nothing).tolist() == [-np.inf, -np.inf]
