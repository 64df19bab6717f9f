from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.losses.answer_spans import (
    expected_f1_loss,
    power_binary_cross_entropy,
    span_cross_entropy,
    span_pointer_loss,
)


@jax.jit
def pointer(start_scores, end_scores, *args):
    """Losses of rows and the gradients of their sum."""

    def total(scores):
        found = span_pointer_loss(*scores, *args)
        return jnp.sum(found), found

    grads, found = jax.grad(total, has_aux=True)((start_scores, end_scores))
    return found, grads


def test_the_loss_is_the_mean_of_two_cross_entropies_of_what_is_kept():
    draws = np.random.default_rng(0)
    scores = draws.normal(size=(2, 4, 6)) * 5.0
    kept = draws.random((4, 6)) < 0.7
    places = np.array([[0, 1, 2, 5], [3, 1, 4, 5]])
    kept[np.arange(4), places[0]] = kept[np.arange(4), places[1]] = True
    with jax.enable_x64(True):
        found, grads = jax.device_get(pointer(*scores, *places, kept))
    want, slopes = np.zeros(4), np.zeros((2, 4, 6))
    for side, row in np.ndindex(2, 4):
        own = np.where(kept[row], np.exp(scores[side, row]), 0.0)
        share, place = own / own.sum(), places[side, row]
        want[row] -= 0.5 * np.log(share[place])
        slopes[side, row] = 0.5 * (share - (np.arange(6) == place))
    np.testing.assert_allclose(found, want, rtol=1e-12)
    np.testing.assert_allclose(grads, slopes, rtol=1e-10, atol=1e-12)


def test_rows_without_an_answer_or_without_tokens_are_zero_with_finite_gradients():
    scores = np.full((2, 4, 3), 1e30, np.float32)
    kept = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
    start, end = np.array([-1, 0, 0, 2]), np.array([-1, 0, 2, 2])
    found, grads = jax.device_get(pointer(*scores, start, end, kept))
    assert found[:3].tolist() == [0.0, 0.0, 0.0]
    assert np.isfinite(grads).all()
    assert not np.any(np.array(grads)[:, :3])
    assert np.any(np.array(grads)[:, 3])


def token_f1(span, gold):
    own, right = (set(range(first, last + 1)) for first, last in (span, gold))
    return 2.0 * len(own & right) / (len(own) + len(right))


@pytest.mark.parametrize("weight", [None, 0.0, 0.3])
def test_losses_of_spans_are_sums_over_all_of_them(weight):
    loss_fn, draws = span_cross_entropy, np.random.default_rng(2)
    if weight is not None:
        loss_fn = partial(expected_f1_loss, entropy_weight=weight)
    scores = draws.normal(size=(3, 5, 5)) * 3.0
    scores[0, 1, 3] = -np.inf  # no span
    kept = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [1, 1, 0, 1, 1]], bool)
    start, end = np.array([1, 1, 0]), np.array([2, 3, 4])

    def total(scores):
        found = loss_fn(scores, start, end, kept)
        return jnp.sum(found), found

    def want(scores):
        found = []
        for row in range(3):
            gold = start[row], end[row]
            spans = {
                (i, j): np.exp(scores[row, i, j])
                for i, j in np.ndindex(5, 5)
                if i <= j and kept[row, i] and kept[row, j]
            }
            share = {span: x / sum(spans.values()) for span, x in spans.items()}
            if weight is None:
                found.append(-np.log(share[gold]))
                continue
            reward = sum(p * token_f1(span, gold) for span, p in share.items())
            entropy = -sum(p * np.log(p) for p in share.values() if p > 0.0)
            found.append(-reward - weight * entropy)
        return np.array(found)

    with jax.enable_x64(True):
        slopes, found = jax.jit(jax.grad(total, has_aux=True))(scores)
    np.testing.assert_allclose(found, want(scores), rtol=1e-12)
    step = 1e-6 * np.eye(25).reshape(25, 1, 5, 5)
    for row, col in ((1, 2), (2, 3), (0, 4), (3, 1), (1, 3)):
        change = step[5 * row + col]
        slope = (want(scores + change) - want(scores - change)) / 2e-6
        np.testing.assert_allclose(slopes[:, row, col], slope, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("loss_fn", [span_cross_entropy, expected_f1_loss])
def test_spans_without_an_answer_are_zero_with_finite_gradients(loss_fn, dtype):
    scores = jnp.full((5, 3, 3), 1e30, dtype).at[4].set(-jnp.inf)
    kept = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]], bool)
    start, end = np.array([-1, 0, 0, 2, 0]), np.array([-1, 0, 2, 1, 1])

    def total(scores):
        found = loss_fn(scores, start, end, kept)
        return jnp.sum(found), found

    grads, found = jax.jit(jax.grad(total, has_aux=True))(scores)
    assert found.dtype == jnp.float32
    assert not np.asarray(found).any()
    assert not np.asarray(grads, np.float32).any()


def test_losses_of_spans_refuse_what_they_cannot_use():
    scores, place = jnp.zeros((2, 3, 3)), jnp.zeros(2, int)
    for loss_fn in (span_cross_entropy, expected_f1_loss):
        with pytest.raises(ValueError, match=r"scores must be \[..., T, T\], got"):
            loss_fn(scores[:, :2], place, place)
        with pytest.raises(ValueError, match=r"start and end must be \(2,\), got"):
            loss_fn(scores, place[:1], place)
        with pytest.raises(ValueError, match=r"kept must be bool \(2, 3\), got int"):
            loss_fn(scores, place, place, jnp.ones((2, 3), jnp.int32))


@pytest.mark.parametrize("power", [1, 2, 4])
def test_powers_are_those_of_probabilities(power):
    draws = np.random.default_rng(1)
    logits, labels = draws.normal(size=20) * 3.0, draws.random(20)
    raised = (1.0 / (1.0 + np.exp(-logits))) ** power
    want = -labels * np.log(raised) - (1.0 - labels) * np.log(1.0 - raised)
    with jax.enable_x64(True):
        found = jax.jit(power_binary_cross_entropy, static_argnums=2)(
            logits, labels, power
        )
    np.testing.assert_allclose(found, want, rtol=1e-10)


def test_a_power_weighs_right_labels_and_their_gradients_by_itself():
    logits, one = np.linspace(-4.0, 4.0, 9, dtype=np.float32), np.ones(9, np.float32)

    def sloped(power):
        return jax.jit(
            jax.value_and_grad(
                lambda x: jnp.sum(power_binary_cross_entropy(x, one, power))
            )
        )(logits)

    (plain, slope), (fourth, steep) = sloped(1), sloped(4)
    np.testing.assert_allclose(fourth, 4.0 * plain, rtol=1e-5)
    np.testing.assert_allclose(steep, 4.0 * slope, rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_values_and_gradients_are_finite_and_exact_at_any_logits(dtype):
    logits = jnp.asarray([-1e30, -200.0, -20.0, 0.0, 20.0, 200.0, 1e30], dtype)
    wide = np.asarray(logits, np.float64)

    @jax.jit
    def sloped(logits, label):
        labels = jnp.full(logits.shape, label)

        def total(x):
            found = power_binary_cross_entropy(x, labels, 4)
            return jnp.sum(found), found

        return jax.grad(total, has_aux=True)(logits)

    for label in (0.0, 1.0):
        slope, value = jax.device_get(sloped(logits, label))
        assert (value >= 0.0).all()
        assert np.isfinite(slope.astype(np.float32)).all()
        if label:
            want = 4.0 * np.logaddexp(0.0, -wide)
        else:  # log(1 - p^4) is log(1 - p) and the logarithm of 1 + p + p^2 + p^3
            p = 1.0 / (1.0 + np.exp(np.clip(-wide, -700.0, 700.0)))
            want = np.logaddexp(0.0, wide) - np.log(1.0 + p + p**2 + p**3)
        np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-7)


def test_labels_that_are_not_kept_are_not_read():
    logits, labels = np.array([[np.nan, 1.0]], np.float32), np.array([[True, True]])
    kept = np.array([[False, True]])

    def total(x):
        return jnp.sum(power_binary_cross_entropy(x, labels, 2, kept))

    value, slope = jax.jit(jax.value_and_grad(total))(logits)
    np.testing.assert_allclose(value, 2.0 * np.log1p(np.exp(-1.0)), rtol=1e-5)
    assert slope[0, 0] == 0.0
    assert slope[0, 1] < 0.0


def test_what_does_not_fit_is_refused():
    row, place = np.zeros((1, 3), np.float32), np.zeros(1, np.int32)
    with pytest.raises(ValueError, match="start_scores and end_scores must both"):
        span_pointer_loss(row, row[:, :2], place, place)
    with pytest.raises(ValueError, match=r"start and end must be \(1,\)"):
        span_pointer_loss(row, row, place, row)
    with pytest.raises(ValueError, match=r"kept must be bool \(1, 3\)"):
        span_pointer_loss(row, row, place, place, row)
    with pytest.raises(ValueError, match="labels must have the shape of logits"):
        power_binary_cross_entropy(row, place, 2)
    with pytest.raises(ValueError, match="power must be at least 1, got 0"):
        power_binary_cross_entropy(row, row, 0)
    with pytest.raises(ValueError, match="kept must be bool and broadcast"):
        power_binary_cross_entropy(row, row, 1, row)
