import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.angles import angles, cosine_and_sine

PLACES = np.array([0, 1, 777, 100_000])


def exact(size, base=10000.0):
    theta = [base ** (-2.0 * i / size) for i in range(size // 2)]
    return np.array([[m * t for t in theta] for m in PLACES.tolist()])


def test_of_numpy_positions_they_are_float64_and_exact():
    found = angles(PLACES, 8, base=500.0)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, exact(8, 500.0), rtol=1e-14)
    np.testing.assert_allclose(cosine_and_sine(found)[0], np.cos(found), atol=6e-8)


def test_of_traced_positions_they_are_float32_within_the_stated_error():
    found = jax.jit(lambda m: angles(m, 8))(jnp.asarray(PLACES))
    assert found.dtype == jnp.float32
    error = np.abs(np.asarray(found, np.float64) - exact(8))
    assert (error <= PLACES[:, None] * 1.2e-7).all()
    cosine, sine = cosine_and_sine(found)
    np.testing.assert_allclose(cosine**2 + sine**2, np.ones((4, 4)), rtol=1e-5)


def test_other_frequencies_take_the_place_of_the_base():
    theta = np.array([0.5, 0.25])
    np.testing.assert_array_equal(angles(PLACES, 4, frequencies=theta)[1], theta)
    traced = angles(PLACES, 4, frequencies=jnp.asarray(theta, jnp.float32))
    assert traced.dtype == jnp.float32
    assert angles(np.zeros((2, 3)), 4).shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(size=3), "pairs"),
        (dict(size=0), "pairs"),
        (dict(size=4, base=0.0), "base"),
        (dict(size=4, frequencies=np.ones(3)), "frequencies"),
    ],
)
def test_what_makes_no_angles_is_refused(options, named):
    with pytest.raises(ValueError, match=named):
        angles(PLACES, **options)
