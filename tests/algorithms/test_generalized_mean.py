import functools

import jax
import numpy as np
import pytest
import scipy.stats

from kexue_jax.algorithms.generalized_mean import generalized_mean

VALUES = np.random.default_rng(0).uniform(0.1, 5.0, size=7).astype(np.float32)
POWERS = (-np.inf, -200.0, -3.0, -1.0, -1e-4, 0.0, 1e-6, 0.05, 1.0, 2.5, 200.0, np.inf)


@functools.cache
def means():
    """One program holds every power."""

    def run(values):
        return [generalized_mean(values, power=p) for p in POWERS]

    return np.array(jax.device_get(jax.jit(run)(VALUES)), np.float64)


def test_is_the_formula_in_float64():
    wide = VALUES.astype(np.float64)
    for power, got in zip(POWERS, means(), strict=True):
        if np.isfinite(power):
            want = scipy.stats.pmean(wide, power)
            np.testing.assert_allclose(got, want, rtol=1e-5)
    np.testing.assert_allclose(means()[[0, -1]], [VALUES.min(), VALUES.max()])


def test_grows_with_the_power():
    assert (np.diff(means()) > -1e-6).all()
    assert means()[-1] > 2 * means()[0]


@pytest.mark.parametrize(
    ("values", "power", "message"),
    [(np.ones((2, 2)), 1.0, "values"), (np.ones(0), 1.0, "values")]
    + [(np.ones(2), float("nan"), "power")],
)
def test_wrong_arguments_are_refused(values, power, message):
    with pytest.raises(ValueError, match=message):
        generalized_mean(values, power=power)
