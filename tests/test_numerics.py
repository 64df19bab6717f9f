import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.numerics import directions, masked_softmax


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


def test_is_the_softmax_of_the_kept_entries(keys):
    scores = 5 * jax.random.normal(next(keys), (3, 4, 6))
    mask = jax.random.bernoulli(next(keys), 0.5, (4, 6))
    want = slow(scores, np.asarray(mask))
    np.testing.assert_allclose(masked_softmax(scores, mask), want, rtol=1e-5, atol=1e-7)


def test_without_a_mask_is_the_softmax_of_jax(keys):
    scores = jax.random.normal(next(keys), (2, 5))
    want = jax.nn.softmax(scores)
    np.testing.assert_allclose(masked_softmax(scores), want, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1e30, -jnp.inf, jnp.inf, jnp.nan])
def test_an_empty_row_is_zero_with_zero_gradients(value):
    scores = jnp.full((2, 3), value)
    mask = jnp.zeros((2, 3), bool)
    out, pull = jax.vjp(lambda s: masked_softmax(s, mask), scores)
    assert not out.any()
    assert not pull(jnp.ones_like(out))[0].any()


def test_a_row_of_minus_infinity_is_empty_without_a_mask():
    out, pull = jax.vjp(masked_softmax, jnp.full((1, 3), -jnp.inf))
    assert not out.any()
    assert not pull(jnp.ones_like(out))[0].any()


def test_hidden_entries_get_no_gradient_even_if_they_are_nan():
    scores = jnp.array([1.0, jnp.nan, 2.0, jnp.inf])
    mask = jnp.array([True, False, True, False])
    grad = jax.grad(lambda s: masked_softmax(s, mask)[0])(scores)
    assert jnp.isfinite(grad).all()
    assert not grad[jnp.array([1, 3])].any()
    assert grad[0] > 0


def test_gradients_are_those_of_finite_differences(keys):
    scores = jax.random.normal(next(keys), (2, 5))
    pull = np.asarray(jax.random.normal(next(keys), (2, 5)), np.float64)
    mask = np.array([[True, True, False, True, True], [False, True, True, True, False]])
    got = jax.grad(lambda s: jnp.sum(masked_softmax(s, jnp.array(mask)) * pull))(scores)
    want, step = np.zeros((2, 5)), 1e-5
    for place in np.ndindex(2, 5):
        change = np.zeros((2, 5))
        change[place] = step
        up, down = (
            slow(np.asarray(scores, np.float64) + sign * change, mask)
            for sign in (1, -1)
        )
        want[place] = np.sum((up - down) * pull) / (2 * step)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_second_derivatives_are_finite_at_an_empty_row():
    mask = jnp.array([[True, True], [False, False]])
    hessian = jax.hessian(lambda s: masked_softmax(s, mask)[0, 0])(jnp.ones((2, 2)))
    assert jnp.isfinite(hessian).all()


def test_works_in_float32_whatever_the_dtype(keys):
    scores = jax.random.normal(next(keys), (4, 300)).astype(jnp.bfloat16)
    out = jax.jit(masked_softmax)(scores)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out.sum(-1), 1.0, rtol=1e-5)


def test_one_entry_takes_everything():
    np.testing.assert_array_equal(masked_softmax(jnp.array([[-7.0]])), [[1.0]])


@pytest.mark.parametrize("shape", [(3,), (2, 2, 5), (4, 5)])
def test_a_mask_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"broadcast to \(2, 5\)"):
        masked_softmax(jnp.zeros((2, 5)), jnp.ones(shape, bool))


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(ValueError, match="bool"):
        masked_softmax(jnp.zeros((2, 5)), jnp.ones((2, 5)))


def test_directions_are_vectors_over_their_norms_of_any_length(keys):
    x = jax.random.normal(next(keys), (4, 3))
    wide = np.asarray(x, np.float64)
    want = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    for factor in (1.0, 1e-35, 1e35):
        np.testing.assert_allclose(directions(factor * x), want, rtol=1e-5)
    _, way = jax.jvp(directions, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(jnp.sum(way * x, axis=1), jnp.zeros(4), atol=1e-5)
    out, pull = jax.vjp(directions, jnp.zeros((2, 3), jnp.bfloat16))
    assert out.dtype == jnp.float32
    assert not out.any()
    assert not pull(jnp.ones_like(out))[0].any()
