from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from kexue_jax.algorithms import entropy_normalization, sampling

softmax_entropy = jax.jit(entropy_normalization.softmax_entropy)
tempered, top_p = jax.jit(sampling.tempered), jax.jit(sampling.top_p)
top_k = jax.jit(sampling.top_k, static_argnames="k")
at_entropy = jax.jit(sampling.at_entropy)
at_most_entropy = jax.jit(sampling.at_most_entropy)
continuations = jax.jit(sampling.continuations, static_argnames=("logits_of", "adjust"))
continued = jax.jit(sampling.continued, static_argnames=("step", "places", "adjust"))

ADJUSTMENTS = {
    "tempered": partial(tempered, temperature=0.7),
    "top_k": partial(top_k, k=3),
    "top_p": partial(top_p, p=0.8),
    "at_entropy": partial(at_entropy, target=0.5),
    "at_most_entropy": partial(at_most_entropy, target=0.5),
}
each = pytest.mark.parametrize("adjust", ADJUSTMENTS.values(), ids=ADJUSTMENTS)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_top_p_leaves_the_fewest_tokens_that_reach_the_share():
    logits = 3.0 * normal(50, 20)
    for share in (0.05, 0.5, 0.9, 1.0):
        kept = np.asarray(top_p(logits, p=share)) > -np.inf
        for row, which in zip(np.float64(logits), kept, strict=True):
            weight = np.sort(np.exp(log_softmax(row)))[::-1]
            fewest = int(np.argmax(np.cumsum(weight) >= share - 1e-6)) + 1
            fewest = len(row) if share == 1.0 else fewest
            assert which.sum() == fewest
            assert row[which].min() >= row[~which].max(initial=-np.inf)


def test_top_p_takes_the_first_of_equal_tokens():
    kept = np.asarray(top_p(np.zeros(4), p=0.5)) > -np.inf
    assert kept.tolist() == [True, True, False, False]


def test_top_k_leaves_k_tokens_and_those_as_likely_as_the_last():
    logits = np.array([1.0, 3.0, 2.0, 2.0, 0.0])
    kept = [np.isfinite(np.asarray(top_k(logits, k=k))).tolist() for k in (1, 2, 9)]
    assert kept[0] == [False, True, False, False, False]
    assert kept[1] == [False, True, True, True, False]
    assert kept[2] == [True] * 5


def test_a_temperature_divides_and_zero_leaves_the_first_of_the_largest():
    logits = normal(3, 5)
    warm = np.array([[0.5], [2.0], [1.0]], np.float32)
    np.testing.assert_allclose(tempered(logits, warm), logits / warm, rtol=1e-6)
    cold = tempered(np.array([1.0, 4.0, 4.0]), 0.0)
    assert cold.tolist() == [-jnp.inf, 4.0, -jnp.inf]


def test_every_row_has_the_prescribed_entropy_in_the_old_order():
    logits = 2.0 * normal(30, 12)
    adjusted = at_entropy(logits, target=1.2)
    np.testing.assert_allclose(softmax_entropy(adjusted), 1.2, atol=1e-4)
    order = np.argsort(logits, axis=-1)
    np.testing.assert_array_equal(np.argsort(adjusted, axis=-1), order)


def test_only_rows_of_greater_entropy_are_sharpened():
    logits = np.array([[0.1], [1.0], [6.0]], np.float32) * normal(3, 12)
    before = np.asarray(softmax_entropy(logits))
    adjusted = np.asarray(at_most_entropy(logits, target=1.5))
    want = np.minimum(before, 1.5)
    assert before[0] > 1.5 > before[2]
    np.testing.assert_allclose(softmax_entropy(adjusted), want, atol=1e-4)
    np.testing.assert_array_equal(adjusted[2], logits[2])


@each
def test_tokens_that_are_left_out_stay_out_and_nothing_is_nan(adjust):
    hidden = np.array([0.5, -np.inf, 2.0, 1.0, -np.inf], np.float32)
    nothing = np.full(5, -np.inf, np.float32)
    one = np.where(np.arange(5) == 3, np.float32(1e4), nothing)
    for logits in (hidden, nothing, one, one.astype(jnp.bfloat16)):
        got = np.asarray(adjust(logits), np.float32)
        assert not np.isnan(got).any()
        assert (got[np.float32(logits) == -np.inf] == -np.inf).all()
    assert np.asarray(adjust(one)).argmax() == 3


@each
def test_rows_are_adjusted_apart_under_jit_and_vmap(adjust):
    logits = normal(2, 3, 7)
    want = [[adjust(row) for row in rows] for rows in logits]
    for made in (jax.jit(adjust)(logits), jax.vmap(adjust)(logits)):
        np.testing.assert_allclose(made, want, atol=1e-5)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"k must be at least 1, got 0"):
        top_k(np.zeros(3), k=0)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"p must lie in .*got {share}"):
            sampling.top_p(np.zeros(3), p=share)


def test_at_temperature_zero_the_likeliest_token_follows():
    def logits_of(tokens):  # the next token is one more than this one
        return 9.0 * jax.nn.one_hot(tokens + 1, 30)

    tokens = np.array([[9, 3, 0, 0, 0, 0], [5, 5, 20, 0, 0, 0]])
    cold = partial(tempered, temperature=0.0)
    got = continuations(
        logits_of, tokens, np.array([2, 3]), jax.random.key(0), adjust=cold
    )
    np.testing.assert_array_equal(got, [[9, 3, 4, 5, 6, 7], [5, 5, 20, 21, 22, 23]])


def test_samples_follow_the_probabilities_of_their_temperature():
    logits = np.log(np.array([0.7, 0.2, 0.1], np.float32))

    def logits_of(tokens):
        return jnp.broadcast_to(logits.reshape(1, 1, 3), (*tokens.shape, 3))

    rows = 4000
    tokens, ones = np.zeros((rows, 2), np.int32), np.ones(rows, np.int32)
    for warmth in (1.0, 0.5):
        adjust = partial(tempered, temperature=warmth)
        got = continuations(logits_of, tokens, ones, jax.random.key(1), adjust=adjust)
        want = np.exp(logits / warmth)
        counts = np.bincount(np.asarray(got)[:, 1], minlength=3) / rows
        np.testing.assert_allclose(counts, want / want.sum(), atol=0.03)


def counting(tokens, cache):
    """The next token is this one and all before it, modulo 10."""
    sums = cache[:, None] + jnp.cumsum(tokens, axis=1)
    return 9.0 * jax.nn.one_hot(sums % 10, 10), sums[:, -1]


def test_step_by_step_each_token_follows_from_all_before_it():
    prompts = np.array([[1, 2], [0, 5]])
    cold = partial(tempered, temperature=0.0)
    start, key = np.zeros(2, np.int32), jax.random.key(0)
    got = continued(counting, start, prompts, key, places=4, adjust=cold)
    np.testing.assert_array_equal(got, [[3, 6, 2, 4], [5, 0, 0, 0]])


def test_step_by_step_needs_a_prompt_and_a_place():
    start, key = np.zeros(2, np.int32), jax.random.key(0)
    with pytest.raises(ValueError, match=r"places at least 1; got .* 0"):
        continued(counting, start, np.ones((2, 1), np.int32), key, places=0)
    with pytest.raises(ValueError, match=r"got \(2, 0\) and 3"):
        continued(counting, start, np.ones((2, 0), np.int32), key, places=3)
