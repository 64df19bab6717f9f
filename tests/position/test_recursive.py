import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.frequencies import rotary_frequencies
from kexue_jax.position.recursive import flow, recursive, rotation
from kexue_jax.position.sinusoidal import sinusoidal


@functools.partial(jax.jit, static_argnames=("length", "steps"))
def turned(frequencies, initial, **options):
    return flow(rotation(frequencies), initial, **options)


def test_each_position_is_made_from_the_one_before():
    matrix = np.float32([[0.5, 1.0], [-1.0, 0.5]])

    @jax.jit
    def made(initial):
        return recursive(lambda p: jnp.tanh(matrix @ p), initial, length=4)

    got = made(np.float32([1.0, 0.0]))
    want = [np.array([1.0, 0.0])]
    for _ in range(3):
        want.append(np.tanh(np.float64(matrix) @ want[-1]))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_flow_of_a_rotation_is_the_sinusoid():
    frequencies = np.float32(rotary_frequencies(6, base=50.0))
    initial = np.float32([0.0, 1.0] * 3)
    got = turned(frequencies, initial, length=40, steps=16)
    want = jax.jit(lambda: sinusoidal(np.arange(40), size=6, base=50.0))()
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_the_error_falls_with_the_fourth_power_of_the_steps():
    frequencies, initial = np.ones(1, np.float32), np.float32([0.0, 1.0])
    want = np.asarray(jax.jit(lambda: sinusoidal(np.arange(10), size=2))())
    made = (turned(frequencies, initial, length=10, steps=steps) for steps in (1, 2))
    errors = [np.abs(np.asarray(table) - want).max() for table in made]
    assert errors[0] / 30 < errors[1] < errors[0] / 10


def test_the_field_is_told_the_time():
    @jax.jit
    def made(initial):
        return flow(lambda t, p: 3.0 * t**2 + 0.0 * p, initial, length=4)

    got = np.asarray(made(np.zeros((2, 1), np.float32)))
    assert got.shape == (2, 4, 1)
    np.testing.assert_allclose(got[0, :, 0], np.arange(4.0) ** 3, rtol=1e-5)


def test_gradients_reach_what_the_field_is_made_of():
    def last(rate):
        return flow(lambda t, p: rate * p, jnp.ones(1), length=3)[-1, 0]

    value, grad = jax.jit(jax.value_and_grad(last))(0.5)
    np.testing.assert_allclose([value, grad], [np.exp(1.0), 2 * np.exp(1.0)], 1e-4)


def test_lengths_that_are_not_positive_are_refused():
    with pytest.raises(ValueError, match="length"):
        recursive(lambda p: p, jnp.ones(1), length=0)
    with pytest.raises(ValueError, match="steps"):
        flow(lambda t, p: p, jnp.ones(1), length=1, steps=0)
