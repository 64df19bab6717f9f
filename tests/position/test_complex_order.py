import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.complex_order import complex_order
from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.position.sinusoidal import sinusoidal


def words(keys, batch=2, length=4, size=3):
    shape = (batch, length, size)
    return [jax.random.normal(next(keys), shape) for _ in range(3)]


def test_every_feature_of_a_word_is_a_wave(keys):
    amplitudes, phases, frequencies = words(keys)
    got = jax.jit(complex_order)(amplitudes, phases, frequencies, jnp.arange(4))
    assert got.dtype == jnp.complex64
    place = np.arange(4)[:, None]
    want = np.float64(amplitudes) * np.exp(
        1j * (np.float64(frequencies) * place + np.float64(phases))
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_with_shared_frequencies_products_depend_on_the_difference_alone(keys):
    (first, phase_1, _), (second, phase_2, _) = (words(keys, 1, 1) for _ in range(2))
    frequencies = jnp.array([[[0.1, 0.5, 1.0]]])

    def product(m, n):
        at = complex_order(first, phase_1, frequencies, jnp.array([m]))
        to = complex_order(second, phase_2, frequencies, jnp.array([n]))
        return jnp.sum(jnp.real(at * jnp.conj(to)))

    np.testing.assert_allclose(product(105, 103), product(5, 3), rtol=1e-3, atol=1e-4)
    assert abs(product(5, 3) - product(3, 5)) > 1e-3


def test_without_words_it_is_the_sinusoidal_table():
    frequencies = rotary_frequencies(6)[None, None]
    got = complex_order(
        jnp.ones((1, 9, 3)), jnp.zeros((1, 1, 1)), frequencies, np.arange(9)
    )
    want = sinusoidal(np.arange(9), size=6)
    np.testing.assert_allclose(jnp.imag(got)[0], want[:, 0::2], atol=1e-6)
    np.testing.assert_allclose(jnp.real(got)[0], want[:, 1::2], atol=1e-6)


def test_gradients_are_finite_at_amplitude_zero(keys):
    _, phases, frequencies = words(keys)

    def loss(amplitudes):
        waves = complex_order(amplitudes, phases, frequencies, jnp.arange(4))
        return jnp.sum(jnp.real(waves))

    assert jnp.isfinite(jax.grad(loss)(jnp.zeros((2, 4, 3)))).all()


def test_shapes_that_do_not_fit_are_refused_by_name(keys):
    amplitudes, phases, frequencies = words(keys)
    with pytest.raises(ValueError, match="phases"):
        complex_order(amplitudes, phases[0], frequencies, jnp.arange(4))
    with pytest.raises(ValueError, match=r"positions.*\(5,\)"):
        complex_order(amplitudes, phases, frequencies, jnp.arange(5))
