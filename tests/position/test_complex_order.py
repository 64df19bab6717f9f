import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.complex_order import complex_order
from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.position.sinusoidal import sinusoidal

complex_order = jax.jit(complex_order)


def words(batch=2, length=4, size=3, seed=0):
    shape = (batch, length, size)
    return np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)


def test_every_feature_of_a_word_is_a_wave():
    amplitudes, phases, frequencies = words()
    got = complex_order(amplitudes, phases, frequencies, np.arange(4))
    assert got.dtype == jnp.complex64
    place = np.arange(4)[:, None]
    want = np.float64(amplitudes) * np.exp(
        1j * (np.float64(frequencies) * place + np.float64(phases))
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_with_shared_frequencies_products_depend_on_the_difference_alone():
    (first, phase_1, _), (second, phase_2, _) = (words(1, 1, seed=i) for i in range(2))
    frequencies = np.array([[[0.1, 0.5, 1.0]]], np.float32)

    def product(m, n):
        at = complex_order(first, phase_1, frequencies, np.array([m]))
        to = complex_order(second, phase_2, frequencies, np.array([n]))
        return np.vdot(to, at).real

    np.testing.assert_allclose(product(105, 103), product(5, 3), rtol=1e-3, atol=1e-4)
    assert abs(product(5, 3) - product(3, 5)) > 1e-3


def test_without_words_it_is_the_sinusoidal_table():
    frequencies = rotary_frequencies(6)[None, None]
    got = complex_order(
        np.ones((1, 9, 3)), np.zeros((1, 1, 1)), frequencies, np.arange(9)
    )
    got = np.asarray(got)[0]
    want = np.asarray(sinusoidal(np.arange(9), size=6))
    np.testing.assert_allclose(got.imag, want[:, 0::2], atol=1e-6)
    np.testing.assert_allclose(got.real, want[:, 1::2], atol=1e-6)


def test_gradients_are_finite_at_amplitude_zero():
    _, phases, frequencies = words()

    def loss(amplitudes):
        waves = complex_order(amplitudes, phases, frequencies, np.arange(4))
        return jnp.sum(jnp.real(waves))

    assert np.isfinite(jax.jit(jax.grad(loss))(np.zeros((2, 4, 3)))).all()


def test_shapes_that_do_not_fit_are_refused_by_name():
    amplitudes, phases, frequencies = words()
    with pytest.raises(ValueError, match="phases"):
        complex_order(amplitudes, phases[0], frequencies, np.arange(4))
    with pytest.raises(ValueError, match=r"positions.*\(5,\)"):
        complex_order(amplitudes, phases, frequencies, np.arange(5))
