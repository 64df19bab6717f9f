from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.span_loss import efficient_span_loss, span_loss

B, T, C, H = 2, 7, 3, 4


def arrays(kind):
    """What the scores are made of, in float64."""
    draws = np.random.default_rng(0)
    shapes = (
        [(B, T, C, H)] * 2 if kind == "plain" else [(B, T, H)] * 2 + [(B, T, C)] * 2
    )
    return [2.0 * draws.normal(size=shape) for shape in shapes]


LOSSES = {"plain": span_loss, "efficient": efficient_span_loss}

# Out of order, one twice, one reversed, one on padding, and one beyond the text.
POSITIVES = np.array(
    [
        [[[3, 5], [0, 0], [3, 5]], [[5, 2], [6, 6], [-1, -1]], [[-1, -1]] * 3],
        [[[0, 3], [1, 6], [0, 9]], [[2, 2], [0, 1], [1, 1]], [[4, 4], [0, 2], [-1, 2]]],
    ],
    np.int32,
)
KEPT = np.arange(T) < np.array([[7], [4]])


def literal_scores(kind, inputs):
    query, key, *terms = inputs
    if kind == "plain":
        return np.einsum("bich,bjch->bcij", query, key) / np.sqrt(H)
    start, end = (np.moveaxis(x, 2, 1) for x in terms)
    inner = np.einsum("bih,bjh->bij", query, key) / np.sqrt(H)
    return inner[:, None] + start[:, :, :, None] + end[:, :, None, :]


def literal(kind, inputs, kept, upper, change):
    """Losses, pair by pair, and what `change` pulls back to the scores."""
    scores = literal_scores(kind, inputs)
    losses, slopes = np.zeros((B, C)), np.zeros_like(scores)
    for b, c in np.ndindex(B, C):
        gold = {tuple(pair) for pair in POSITIVES[b, c].tolist()}
        sums = {True: 1.0, False: 1.0}
        pairs = [
            (i, j)
            for i, j in np.ndindex(T, T)
            if kept[b, i] and kept[b, j] and (i <= j or not upper)
        ]
        for pair in pairs:
            right = pair in gold
            sums[right] += np.exp(scores[b, c][pair] * (-1.0 if right else 1.0))
        for pair in pairs:
            sign = -1.0 if pair in gold else 1.0
            share = np.exp(sign * scores[b, c][pair]) / sums[pair in gold]
            slopes[b, c][pair] = change[b, c] * sign * share
        losses[b, c] = np.log(sums[True]) + np.log(sums[False])
    return losses, slopes


def literal_pull(kind, inputs, slopes):
    """Gradients of what the scores are made of."""
    query, key, *_ = inputs
    if kind == "plain":
        left = np.einsum("bcij,bjch->bich", slopes, key) / np.sqrt(H)
        return left, np.einsum("bcij,bich->bjch", slopes, query) / np.sqrt(H)
    left = np.einsum("bcij,bjh->bih", slopes, key) / np.sqrt(H)
    right = np.einsum("bcij,bih->bjh", slopes, query) / np.sqrt(H)
    return left, right, *(np.moveaxis(slopes.sum(axis=a), 1, 2) for a in (3, 2))


@partial(jax.jit, static_argnames=("kind", "upper", "block"))
def pulled(inputs, positives, kept, change, *, kind, upper=True, block=None):
    """Losses, and gradients of their sum weighed by `change`."""

    def loss(*inputs):
        return LOSSES[kind](*inputs, positives, kept, upper=upper, block=block)

    value, pull = jax.vjp(loss, *inputs)
    return value, pull(change.astype(value.dtype))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(("upper", "block"), [(True, 3), (False, 3), (True, None)])
def test_value_and_gradients_are_those_of_all_scores(kind, upper, block):
    inputs, change = arrays(kind), np.arange(1.0, 7.0).reshape(B, C)
    with jax.enable_x64(True):
        found, grads = jax.device_get(
            pulled(inputs, POSITIVES, KEPT, change, kind=kind, upper=upper, block=block)
        )
    want, slopes = literal(kind, inputs, KEPT, upper, change)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    for own, other in zip(grads, literal_pull(kind, inputs, slopes), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", LOSSES)
def test_float32_keeps_five_digits_and_narrow_features_get_narrow_gradients(kind):
    change = np.ones((B, C))
    narrow = [jnp.asarray(x, jnp.bfloat16) for x in arrays(kind)]
    wide = [np.asarray(x, np.float32) for x in narrow]
    want, slopes = literal(kind, [x.astype(float) for x in wide], KEPT, True, change)
    options = dict(kind=kind, block=3)
    found, grads = jax.device_get(pulled(wide, POSITIVES, KEPT, change, **options))
    np.testing.assert_allclose(found, want, rtol=1e-5)
    exact = literal_pull(kind, [x.astype(float) for x in wide], slopes)
    for own, other in zip(grads, exact, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5)
    found, grads = jax.device_get(pulled(narrow, POSITIVES, KEPT, change, **options))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, want, rtol=1e-2)
    for own, other in zip(grads, exact, strict=True):
        assert own.dtype == jnp.bfloat16
        np.testing.assert_allclose(own.astype(float), other, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("size", [30.0, 1e4])
def test_losses_are_never_negative_or_nan_at_extreme_scores(size):
    inputs = [np.asarray(size * x, np.float32) for x in arrays("plain")]
    for kept in (KEPT, np.zeros_like(KEPT)):
        found, grads = jax.device_get(
            pulled(inputs, POSITIVES, kept, np.ones((B, C)), kind="plain", block=3)
        )
        assert (found >= 0.0).all()
        assert all(np.isfinite(own).all() for own in grads)
        if not kept.any():
            assert not found.any()
            assert not any(own.any() for own in grads)


def test_a_feature_that_is_no_number_makes_the_losses_it_is_in_none():
    inputs = [np.asarray(x, np.float32) for x in arrays("plain")]
    inputs[0][0, 3, 0] = np.nan  # of a gold span's start
    found, _ = pulled(inputs, POSITIVES, KEPT, np.ones((B, C)), kind="plain", block=3)
    assert np.isnan(found).tolist() == [[True, False, False], [False] * 3]


def test_one_token_and_no_positives_are_edges_like_others():
    inputs = [np.ones((1, 1, 1, 4), np.float32)] * 2
    nothing = np.zeros((1, 1, 0, 2), np.int32)
    found, grads = jax.device_get(
        pulled(inputs, nothing, np.ones((1, 1), bool), np.ones((1, 1)), kind="plain")
    )
    np.testing.assert_allclose(found, [[np.log1p(np.exp(2.0))]], rtol=1e-5)
    share = 0.5 / (1.0 + np.exp(-2.0))
    np.testing.assert_allclose(grads[0], np.full((1, 1, 1, 4), share), rtol=1e-5)


def test_confident_positives_do_not_hide_a_small_sum_of_the_rest():
    # Scores are 20 where a span is gold and -20 elsewhere: the sum is 3 exp(-20).
    query = np.array([[[20.0, -20.0]], [[-20.0, 20.0]]], np.float32)[None]
    key = np.array([[[1.0, 0.0]], [[0.0, 1.0]]], np.float32)[None]
    gold = np.array([[[[0, 0], [1, 1]]]], np.int32)
    found = jax.jit(partial(span_loss, upper=False, scale=1.0))(query, key, gold)
    np.testing.assert_allclose(found, [[4.0 * np.exp(-20.0)]], rtol=1e-5)


def test_no_array_of_all_scores_is_made():
    features = jax.ShapeDtypeStruct((1, 1024, 4, 8), jnp.float32)
    gold = jax.ShapeDtypeStruct((1, 4, 8, 2), jnp.int32)
    slope = jax.grad(lambda *args: jnp.sum(span_loss(*args)), argnums=(0, 1))
    compiled = jax.jit(slope).lower(features, features, gold).compile()
    scores = 4 * 1024 * 1024 * 4  # bytes
    assert compiled.memory_analysis().temp_size_in_bytes < scores / 4


def test_what_does_not_fit_is_refused():
    features, gold = (
        np.zeros((1, 3, 2, 4), np.float32),
        np.zeros((1, 2, 1, 2), np.int32),
    )
    with pytest.raises(ValueError, match=r"\[B, T, C, H\] and \[B, S, C, H\]"):
        span_loss(features, features[..., :2], gold)
    with pytest.raises(ValueError, match="query and key must have as many tokens"):
        span_loss(features, features[:, :2], gold)
    for wrong in (gold[:, :1], gold[..., 0], gold.astype(np.float32)):
        with pytest.raises(
            ValueError, match=r"positives must be integers \[1, 2, K, 2\]"
        ):
            span_loss(features, features, wrong)
    with pytest.raises(ValueError, match=r"kept must be bool \(1, 3\)"):
        span_loss(features, features, gold, np.ones((1, 3)))
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        span_loss(features, features, gold, block=0)
    with pytest.raises(ValueError, match="query, key, start_terms, end_terms"):
        efficient_span_loss(*[features[:, :, 0]] * 3, features[:, :, :, 0], gold)
