import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax import numerics

masked_softmax = jax.jit(numerics.masked_softmax)


@jax.jit
def with_gradients(scores, mask=None):
    out, pull = jax.vjp(lambda s: masked_softmax(s, mask), scores)
    return out, pull(jnp.ones_like(out))[0]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def slow(scores, mask):
    scores = np.asarray(scores, np.float64)
    mask = np.broadcast_to(mask, scores.shape)
    out = np.zeros_like(scores)
    for row in np.ndindex(scores.shape[:-1]):
        kept = np.flatnonzero(mask[row])
        if kept.size:
            power = np.exp(scores[row][kept] - scores[row][kept].max())
            out[row][kept] = power / power.sum()
    return out


def test_is_the_softmax_of_the_kept_entries():
    scores, mask = 5 * normal(3, 4, 6), normal(4, 6) > 0.0
    want = slow(scores, mask)
    np.testing.assert_allclose(masked_softmax(scores, mask), want, rtol=1e-5, atol=1e-7)


def test_without_a_mask_is_the_softmax_of_jax():
    scores = normal(2, 5)
    want = jax.jit(jax.nn.softmax)(scores)
    np.testing.assert_allclose(masked_softmax(scores), want, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e30, -jnp.inf, jnp.inf, jnp.nan])
def test_an_empty_row_is_zero_with_zero_gradients(value):
    scores = np.full((2, 3), value, np.float32)
    out, slope = with_gradients(scores, np.zeros((2, 3), bool))
    assert not np.asarray(out).any()
    assert not np.asarray(slope).any()


def test_a_row_of_minus_infinity_is_empty_without_a_mask():
    out, slope = with_gradients(np.full((1, 3), -np.inf, np.float32))
    assert not np.asarray(out).any()
    assert not np.asarray(slope).any()


def test_hidden_entries_get_no_gradient_even_if_they_are_nan():
    scores = np.array([1.0, np.nan, 2.0, np.inf])
    mask = np.array([True, False, True, False])
    grad = jax.jit(jax.grad(lambda s: masked_softmax(s, mask)[0]))(scores)
    grad = np.asarray(grad)
    assert np.isfinite(grad).all()
    assert not grad[[1, 3]].any()
    assert grad[0] > 0


def test_gradients_are_those_of_finite_differences():
    scores, pull = normal(2, 2, 5)
    mask = np.array([[True, True, False, True, True], [False, True, True, True, False]])
    got = jax.jit(jax.grad(lambda s: jnp.sum(masked_softmax(s, mask) * pull)))(scores)
    want, step = np.zeros((2, 5)), 1e-5
    for place in np.ndindex(2, 5):
        change = np.zeros((2, 5))
        change[place] = step
        up, down = (slow(np.float64(scores) + sign * change, mask) for sign in (1, -1))
        want[place] = np.sum((up - down) * pull) / (2 * step)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_second_derivatives_are_finite_at_an_empty_row():
    mask = np.array([[True, True], [False, False]])
    hessian = jax.jit(jax.hessian(lambda s: masked_softmax(s, mask)[0, 0]))
    assert np.isfinite(hessian(np.ones((2, 2), np.float32))).all()


def test_works_in_float32_whatever_the_dtype():
    out = masked_softmax(normal(4, 300).astype(jnp.bfloat16))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(out).sum(-1), 1.0, rtol=1e-5)


def test_one_entry_takes_everything():
    np.testing.assert_array_equal(masked_softmax(np.array([[-7.0]])), [[1.0]])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 5), (4, 5)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"broadcast to \(2, 5\)"):
        masked_softmax(np.zeros((2, 5)), np.ones(shape, bool))


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(ValueError, match="bool"):
        masked_softmax(np.zeros((2, 5)), np.ones((2, 5)))
