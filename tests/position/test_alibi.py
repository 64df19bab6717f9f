import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position import alibi
from kexue_jax.position.alibi import alibi_slopes

alibi_bias = jax.jit(alibi.alibi_bias)


def test_slopes_of_a_power_of_two_are_one_geometric_series():
    np.testing.assert_allclose(alibi_slopes(8), 0.5 ** np.arange(1, 9), rtol=1e-12)
    np.testing.assert_allclose(alibi_slopes(1), [1 / 256])


def test_slopes_of_twelve_heads_are_eight_and_every_second_of_sixteen():
    got = alibi_slopes(12)
    np.testing.assert_allclose(got[:8], 0.5 ** np.arange(1, 9), rtol=1e-12)
    np.testing.assert_allclose(got[8:], [0.7071, 0.3536, 0.1768, 0.0884], atol=5e-5)


@pytest.mark.parametrize("heads", range(1, 20))
def test_every_number_of_heads_has_distinct_slopes(heads):
    got = alibi_slopes(heads)
    assert got.shape == (heads,)
    assert len(set(got)) == heads
    assert ((got > 0) & (got < 1)).all()


def test_is_the_slope_times_the_distance():
    got = alibi_bias(alibi_slopes(2), np.array([3, 5]), np.arange(4))
    distance = np.abs(np.array([[3], [5]]) - np.arange(4))
    want = -alibi_slopes(2)[:, None, None] * distance
    np.testing.assert_allclose(np.asarray(got)[0], want, rtol=1e-6)
    assert got.dtype == jnp.float32


def test_new_queries_beside_a_cache_have_the_rows_of_the_whole():
    whole = alibi_bias(alibi_slopes(3), np.arange(7), np.arange(7))
    some = alibi_bias(alibi_slopes(3), np.arange(5, 7), np.arange(7))
    np.testing.assert_array_equal(some, np.asarray(whole)[:, :, 5:])


def test_positions_of_examples_may_differ():
    positions = np.array([[0, 1, 2], [0, 0, 1]])  # the second is padded at the left
    got = np.asarray(alibi_bias(alibi_slopes(2), positions, positions))
    for b in range(2):
        want = alibi_bias(alibi_slopes(2), positions[b], positions[b])
        np.testing.assert_array_equal(got[b : b + 1], want)


def test_the_bias_is_symmetric_so_left_and_right_are_alike():
    bias = np.asarray(alibi_bias(alibi_slopes(2), np.arange(6), np.arange(6)))
    np.testing.assert_array_equal(bias, np.swapaxes(bias, -1, -2))
    np.testing.assert_array_equal(bias, bias[..., ::-1, ::-1])


def test_slopes_can_be_trained():
    def loss(slopes):
        return jnp.sum(alibi_bias(slopes, np.arange(3), np.arange(3)))

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(np.ones(2)), [-8.0, -8.0])


def test_equal_inputs_stay_equal_whatever_a_bias_says():
    """The n zeros of the probe: weights that sum to one average equal values."""
    bias = 3.0 * np.random.default_rng(0).normal(size=(1, 2, 5, 5))
    same = np.ones((1, 5, 2, 4), np.float32)
    weights = scipy.special.softmax(bias, axis=-1)
    got = np.einsum("bnts,bsnv->btnv", weights, same)
    plain = jax.jit(softmax_attention)(same, same, same)
    np.testing.assert_allclose(got, plain, rtol=1e-6)
    np.testing.assert_allclose(got, same, rtol=1e-6)


def test_what_does_not_fit_is_refused_by_name():
    with pytest.raises(ValueError, match="heads must be positive, got 0"):
        alibi_slopes(0)
    with pytest.raises(ValueError, match="slopes"):
        alibi_bias(np.ones((1, 2)), np.arange(3), np.arange(3))
