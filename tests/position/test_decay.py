import numpy as np
import pytest
import scipy.special

from kexue_jax.position.decay import (
    _cosine_integral,
    mean_cosine,
    mean_cosine_limit,
    rotary_bound,
)
from kexue_jax.position.frequencies import rotary_frequencies

DISTANCES = np.array([1, 8, 32, 128, 512, 4096])


@pytest.mark.parametrize(
    ("base", "digits", "want"),
    [
        (1e4, 5e-6, [0.97396, 0.72485, 0.56282, 0.41115, 0.26010, 0.03875]),
        (1e3, 5e-5, [0.9653, 0.6331, 0.4171, 0.2155, 0.0228, 0.0225]),
    ],
)
def test_the_limit_has_its_golden_values(base, digits, want):
    got = mean_cosine_limit(DISTANCES, base=base)
    np.testing.assert_allclose(got, want, atol=digits, rtol=0)


def test_sixty_four_frequencies_have_their_golden_values():
    want = [0.97021, 0.71438, 0.55747, 0.33279, 0.21942, -0.05285]
    got = mean_cosine(DISTANCES, rotary_frequencies(128))
    np.testing.assert_allclose(got, want, atol=5e-6, rtol=0)


def test_the_bound_has_its_golden_values():
    want = [32.5, 31.538, 22.604, 15.775, 10.090, 9.273, 6.543]
    distances = np.array([0, 1, 4, 16, 64, 128, 256])
    got = rotary_bound(distances, rotary_frequencies(128))
    np.testing.assert_allclose(got, want, atol=5e-4, rtol=0)


def test_the_cosine_integral_is_that_of_scipy():
    x = np.geomspace(1e-8, 1e6, 500)
    want = scipy.special.sici(x)[1]
    np.testing.assert_allclose(_cosine_integral(x), want, rtol=1e-11, atol=1e-13)


def test_many_features_come_near_the_limit():
    distances = np.arange(129)
    got = mean_cosine(distances, rotary_frequencies(768))
    np.testing.assert_allclose(got, mean_cosine_limit(distances), atol=3e-3, rtol=0)


def test_the_decay_is_logarithmic_up_to_the_base():
    d = np.arange(32, 1001)
    want = 1.0 - (np.euler_gamma + np.log(d)) / np.log(1e4)
    np.testing.assert_allclose(mean_cosine_limit(d), want, rtol=1e-2)


def test_the_limit_is_even_and_one_at_distance_zero():
    assert mean_cosine_limit(np.array(0)) == 1.0
    np.testing.assert_array_equal(
        mean_cosine_limit(-DISTANCES), mean_cosine_limit(DISTANCES)
    )


def test_linear_frequencies_give_the_curve_that_crosses_zero():
    theta = (np.arange(4096) + 0.5) / 4096
    d = np.array([1.0, 3.0, 10.0])
    np.testing.assert_allclose(mean_cosine(d, theta), np.sin(d) / d, atol=1e-5)


def test_the_bound_bounds_every_rotary_score():
    rng = np.random.default_rng(0)
    theta = rotary_frequencies(16)
    for d in (1, 10, 100):
        products = rng.normal(size=(50, 8)) + 1j * rng.normal(size=(50, 8))
        score = np.abs(np.sum(products * np.exp(1j * d * theta), axis=-1))
        change = np.abs(np.diff(products, axis=-1, append=0.0)).max(-1)
        assert (score <= change * 8 * rotary_bound(np.array(d), theta) + 1e-9).all()


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="got 1"):
        mean_cosine_limit(DISTANCES, base=1.0)
    for function in (mean_cosine, rotary_bound):
        with pytest.raises(ValueError, match="frequencies"):
            function(DISTANCES, np.ones((2, 2)))
