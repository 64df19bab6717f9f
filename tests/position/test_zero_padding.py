import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position import zero_padding

circular_convolution = jax.jit(zero_padding.circular_convolution)
zero_padded_convolution = jax.jit(zero_padding.zero_padded_convolution)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow(features, kernel, circular):
    features, kernel = (np.asarray(x, np.float64) for x in (features, kernel))
    out, length = np.zeros_like(features), features.shape[1]
    for t in range(length):
        for k in range(len(kernel)):
            s = t + k - len(kernel) // 2
            if circular or 0 <= s < length:
                out[:, t] += kernel[k] * features[:, s % length]
    return out


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize(("length", "size"), [(6, 3), (6, 5), (1, 3), (4, 1)])
def test_is_the_sum_of_the_formula(circular, length, size):
    features, kernel = normal(2, length, 3), normal(size, 3, seed=1)
    convolve = circular_convolution if circular else zero_padded_convolution
    got = convolve(features, kernel)
    np.testing.assert_allclose(got, slow(features, kernel, circular), 1e-5, 1e-5)


def test_zeros_at_the_ends_tell_equal_inputs_apart_and_a_circle_does_not():
    kernel = normal(5, 3)
    same = np.ones((1, 9, 3), jnp.bfloat16)
    got = np.asarray(zero_padded_convolution(same, kernel))
    assert got.dtype == jnp.bfloat16
    assert (got[:, 2:-2] == got[:, 2:3]).all()
    for end in (got[:, :2], got[:, -2:]):
        assert (end != got[:, 4:5]).any(axis=-1).all()
    round_ = np.asarray(circular_convolution(same, kernel))
    np.testing.assert_array_equal(round_, np.broadcast_to(round_[:, :1], (1, 9, 3)))


def test_each_further_layer_tells_positions_farther_from_the_ends():
    kernel = np.abs(normal(3, 1))
    features = np.ones((1, 15, 1), np.float32)
    for layer in range(1, 5):
        features = np.asarray(zero_padded_convolution(features, kernel))
        inner = features[0, :, 0] == features[0, 7, 0]
        np.testing.assert_array_equal(
            inner, np.minimum(np.arange(15), 14 - np.arange(15)) >= layer
        )


def test_a_shift_around_the_circle_shifts_the_result():
    features, kernel = normal(1, 6, 2), normal(3, 2, seed=1)
    got = circular_convolution(np.roll(features, 2, axis=1), kernel)
    want = np.roll(np.asarray(circular_convolution(features, kernel)), 2, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match=r"K odd; got .*\(4, 3\)"):
        zero_padded_convolution(np.ones((1, 5, 3)), np.ones((4, 3)))
