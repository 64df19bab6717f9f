import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import expit, logsumexp

from kexue_jax.losses.multilabel import (
    difference_multilabel_cross_entropy,
    log_subset_partition,
    multilabel_cross_entropy,
    soft_multilabel_cross_entropy,
    sparse_multilabel_cross_entropy,
    symmetric_multilabel_divergence,
)

DENSE = jax.jit(multilabel_cross_entropy)
SOFT = jax.jit(soft_multilabel_cross_entropy)
SPARSE = jax.jit(sparse_multilabel_cross_entropy)
DIFFERENCE = jax.jit(difference_multilabel_cross_entropy)
DIVERGENCE = jax.jit(symmetric_multilabel_divergence)


def sloped(function):
    """Sum over rows and its gradient, with the values of the rows."""

    def total(scores, *args):
        found = function(scores, *args)
        return jnp.sum(found), found

    slope = jax.jit(jax.grad(total, has_aux=True))

    def call(*args):
        grad, value = jax.device_get(slope(*args))
        return value, grad

    return call


SLOPED = {f: sloped(f) for f in (DENSE, SPARSE, SOFT)}


def literal(scores, right, kept=None, threshold=0.0):
    """The formula for one row, and its gradient, entry by entry in float64."""
    wrong_sum, right_sum = 1.0, 1.0
    slope = np.zeros(len(scores))
    kept = np.ones(len(scores), bool) if kept is None else kept
    for i, s in enumerate(scores):
        if kept[i] and right[i]:
            right_sum += np.exp(threshold - s)
        elif kept[i]:
            wrong_sum += np.exp(s - threshold)
    for i, s in enumerate(scores):
        if kept[i] and right[i]:
            slope[i] = -np.exp(threshold - s) / right_sum
        elif kept[i]:
            slope[i] = np.exp(s - threshold) / wrong_sum
    return np.log(wrong_sum) + np.log(right_sum), slope


def rows(size=12):
    """Scores ``[4, size]``, labels with none, some and all right, and what is kept."""
    draws = np.random.default_rng(0)
    scores = draws.normal(size=(4, size)) * 3.0
    labels = draws.random((4, size)) < np.array([[0.0], [0.2], [0.6], [1.0]])
    return scores, labels, draws.random((4, size)) < 0.7


def numbers(labels):
    """Padded numbers of the right classes, out of order and some twice."""
    found = [np.flatnonzero(row)[::-1].tolist() for row in labels]
    found = [[-1, *own, *own[:1], 99] for own in found]
    longest = max(map(len, found))
    return np.array([own + [-7] * (longest - len(own)) for own in found], np.int32)


def test_dense_and_sparse_are_the_formula_with_any_number_of_right_classes():
    scores, labels, kept = rows()
    with jax.enable_x64(True):
        dense = SLOPED[DENSE](scores, labels, kept)
        sparse = SLOPED[SPARSE](scores, numbers(labels), kept)
        counted = SLOPED[DENSE](scores, labels.astype(np.int32), kept)
    want = [literal(*row) for row in zip(scores, labels, kept, strict=True)]
    for value, slope in (dense, sparse, counted):
        np.testing.assert_allclose(value, [w[0] for w in want], rtol=1e-12)
        np.testing.assert_allclose(slope, [w[1] for w in want], rtol=1e-10, atol=1e-14)


def test_a_threshold_is_taken_off_the_scores():
    scores, labels, _ = rows()
    with jax.enable_x64(True):
        found = DENSE(scores, labels, threshold=0.7)
    want = [literal(*row, threshold=0.7)[0] for row in zip(scores, labels, strict=True)]
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_it_is_softmax_cross_entropy_with_thresholds_between_right_and_wrong():
    scores, right = np.random.default_rng(1).normal(size=6), np.arange(6) == 2
    # All differences of a wrong and a right score, the threshold 0 being both.
    wrong, ahead = np.append(scores[~right], 0.0), np.append(scores[right], 0.0)
    want = logsumexp((wrong[:, None] - ahead[None, :]).ravel())
    with jax.enable_x64(True):
        found = DENSE(scores, right)
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_it_vanishes_once_right_and_wrong_are_far_apart():
    scores = np.array([30.0, 40.0, -35.0, -30.0], np.float32)
    right = np.arange(4) < 2
    found = float(DENSE(scores, right))
    assert 0.0 < found < 1e-12
    np.testing.assert_allclose(found, literal(scores.astype(float), right)[0], rtol=0.1)


def test_binary_cross_entropy_is_greater_by_the_products_that_are_left_out():
    scores, labels, _ = rows()
    signed = np.where(labels, -scores, scores)
    binary = np.logaddexp(0.0, signed).sum(axis=1)
    with jax.enable_x64(True):
        found = np.asarray(DENSE(scores, labels))
    assert (found <= binary + 1e-12).all()
    factors = [np.exp(row) for row in signed]
    kept_terms = [
        (1.0 + f[own].sum()) * (1.0 + f[~own].sum())
        for f, own in zip(factors, labels, strict=True)
    ]
    np.testing.assert_allclose(found, np.log(kept_terms), rtol=1e-12)


def published_sparse(scores, positives, epsilon=1e-7):
    """The difference of sums as it is published, in float32, for one row."""
    scores = np.append(np.float32(0.0), scores.astype(np.float32))
    own = np.append(np.float32(0.0), scores[1:][positives])
    missed = np.logaddexp.reduce(np.append(-own[1:], np.float32(0.0)))
    every, right = np.logaddexp.reduce(scores), np.logaddexp.reduce(own[1:])
    share = np.clip(np.float32(1.0) - np.exp(right - every), np.float32(epsilon), 1.0)
    return missed, every + np.log(share)


@pytest.mark.parametrize("score", [10.0, 15.0, 20.0, 80.0])
def test_the_sparse_form_is_exact_where_the_published_difference_is_not(score):
    scores = np.full(515, -10.0, np.float32)
    scores[:3] = score
    positives = np.arange(3, dtype=np.int32)
    missed, wrong = published_sparse(scores, positives)
    published = float(DIFFERENCE(scores, positives))
    np.testing.assert_allclose(published, missed + wrong, atol=0.05)  # it is noise
    truth = literal(scores.astype(np.float64), np.arange(515) < 3)[0]
    found = float(SPARSE(scores, positives))
    np.testing.assert_allclose(found, truth, rtol=1e-5)
    assert abs(found - truth) < 1e-3 * abs(missed + wrong - truth)
    if score == 15.0:
        assert wrong < 0.0
    if score == 20.0:
        np.testing.assert_allclose(wrong, 20.0 + np.log(3e-7), rtol=1e-3)


def test_the_published_difference_is_exact_in_exact_arithmetic():
    scores, labels, kept = rows()
    with jax.enable_x64(True):
        found = DIFFERENCE(scores, numbers(labels), kept)
        none = DIFFERENCE(scores, numbers(labels & False), kept)
    for own, values in ((labels, found), (labels & False, none)):
        want = [literal(*row)[0] for row in zip(scores, own, kept, strict=True)]
        np.testing.assert_allclose(values, want, rtol=1e-9)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [1.0, 100.0, 3e4])
def test_losses_are_never_negative_or_nan_at_any_logits(dtype, size):
    scores, labels, kept = rows()
    scores = jnp.asarray(scores * size, dtype)
    wide = np.asarray(scores, np.float64)
    for function, own in ((DENSE, labels), (SPARSE, numbers(labels)), (SOFT, labels)):
        value, slope = SLOPED[function](scores, own, kept)
        assert value.dtype == np.float32
        assert slope.dtype == dtype
        assert (value >= 0.0).all()
        assert np.isfinite(slope.astype(np.float32)).all()
        signed = np.where(labels, -wide, wide)
        want = [
            np.logaddexp.reduce(np.append(0.0, s[k & t]))
            + np.logaddexp.reduce(np.append(0.0, s[k & ~t]))
            for s, k, t in zip(signed, kept, labels, strict=True)
        ]
        np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6)


def test_what_is_hidden_is_not_read_and_rows_of_it_are_zero():
    scores, labels, kept = rows()
    kept[2] = False
    for hidden in (np.nan, np.inf, -np.inf):
        other = np.where(kept, scores, hidden).astype(np.float32)
        for function, own in (
            (DENSE, labels),
            (SPARSE, numbers(labels)),
            (SOFT, labels),
        ):
            value, slope = SLOPED[function](other, own, kept)
            want, _ = SLOPED[function](scores.astype(np.float32), own, kept)
            np.testing.assert_array_equal(value, want)
            assert value[2] == 0.0
            assert not slope[~kept].any()


def test_rows_without_right_classes_may_come_without_numbers():
    scores, _, _ = rows()
    nothing = np.zeros((4, 0), np.int32)
    with jax.enable_x64(True):
        found = SPARSE(scores, nothing)
    np.testing.assert_allclose(found, np.log1p(np.exp(scores).sum(axis=1)), rtol=1e-12)


def test_a_score_of_minus_infinity_hides_right_and_wrong_alike():
    scores, labels, kept = rows()
    other = np.where(kept, scores, -np.inf).astype(np.float32)
    for function, own in ((DENSE, labels), (SPARSE, numbers(labels)), (SOFT, labels)):
        value, slope = SLOPED[function](other, own)
        want, _ = SLOPED[function](scores.astype(np.float32), own, kept)
        np.testing.assert_array_equal(value, want)
        assert np.isfinite(slope).all()


def test_a_score_that_is_no_number_makes_the_loss_of_its_row_none():
    scores, labels, _ = rows()
    scores[1, labels[1].argmax()] = scores[2, labels[2].argmin()] = np.nan
    scores = scores.astype(np.float32)
    for function, own in ((DENSE, labels), (SPARSE, numbers(labels)), (SOFT, labels)):
        assert np.isnan(function(scores, own)).tolist() == [False, True, True, False]


def test_soft_labels_of_0_and_1_are_hard_and_the_optimum_is_half_the_logit():
    scores, labels, kept = rows()
    with jax.enable_x64(True):
        hard, soft = DENSE(scores, labels, kept), SOFT(scores, labels, kept)
        _, slope = SLOPED[SOFT](scores, expit(2.0 * scores))
    np.testing.assert_allclose(soft, hard, rtol=1e-12)
    np.testing.assert_allclose(slope, 0.0, atol=1e-13)
    t, s = np.random.default_rng(2).random((2, 5))
    want = np.log1p((t * np.exp(-s)).sum()) + np.log1p(((1 - t) * np.exp(s)).sum())
    with jax.enable_x64(True):
        np.testing.assert_allclose(SOFT(s, t), want, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_one_score_for_all_pairs_of_equal_entities_falls_to_half_a_log_ratio(count):
    # Without relative positions n equal entities share one score with the n (n - 1) / 2
    # pairs of a head and a later tail: from 4 of them on none is found.
    wrong = count * (count - 1) // 2
    right = np.arange(count + wrong) < count
    want = 0.5 * np.log(count / wrong)
    with jax.enable_x64(True):
        slope = jax.jit(
            jax.grad(lambda s: multilabel_cross_entropy(jnp.full(len(right), s), right))
        )(want)
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)
    found = minimize_scalar(
        lambda s: literal(np.full(len(right), s), right)[0], bounds=(-5.0, 5.0)
    )
    np.testing.assert_allclose(found.x, want, atol=1e-4)
    assert (want < -1e-9) == (count >= 4)


def test_the_divergence_is_the_sum_of_both_of_bernoulli_distributions():
    (scores, _, kept), other = rows(), np.random.default_rng(3).normal(size=(4, 12))

    def one_way(s, t):
        p, q = expit(s), expit(t)
        terms = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return np.where(kept, terms, 0.0).sum(axis=1)

    with jax.enable_x64(True):
        there, back = DIVERGENCE(scores, other, kept), DIVERGENCE(other, scores, kept)
        same = DIVERGENCE(scores, scores)
    want = one_way(scores, other) + one_way(other, scores)
    np.testing.assert_allclose(there, want, rtol=1e-10)
    np.testing.assert_allclose(there, back, rtol=1e-12)
    assert not same.any()
    hidden = np.where(kept, scores, -np.inf)
    value, slope = sloped(symmetric_multilabel_divergence)(hidden, other)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7])
def test_the_partition_of_subsets_is_a_sum_over_all_of_them(size):
    scores = np.random.default_rng(4).normal(size=(2, 7)) * 4.0
    scores[1, :2] = -np.inf
    subsets = [list(own) for own in itertools.combinations(range(7), size)]
    sums = np.array([[row[own].sum() for own in subsets] for row in scores])
    inside = np.array([[i in own for i in range(7)] for own in subsets])
    with jax.enable_x64(True):
        value, slope = sloped(partial(log_subset_partition, size=size))(scores)
    want = np.logaddexp.reduce(sums, axis=1)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    some = np.where(np.isfinite(want), want, 0.0)
    share = np.exp(sums - some[:, None]) @ inside
    np.testing.assert_allclose(slope, share, rtol=1e-10, atol=1e-12)


def newton(scores, size, dtype):
    """The recursion of the post, with the greatest score taken out."""
    scores = (scores - scores.max()).astype(dtype)
    sums = [np.exp(m * scores).sum(dtype=dtype) for m in range(size + 1)]
    found = [dtype(1.0)]
    for k in range(1, size + 1):
        terms = [(-1) ** (m - 1) * found[k - m] * sums[m] for m in range(1, k + 1)]
        found.append(np.sum(terms, dtype=dtype) / dtype(k))
    return found[size]


def test_newtons_identities_give_the_partition_until_one_class_leads():
    call = jax.jit(partial(log_subset_partition, size=2))
    scores = np.random.default_rng(5).normal(size=20).astype(np.float32)
    want = np.log(newton(scores, 2, np.float64)) + 2.0 * scores.max()
    np.testing.assert_allclose(call(scores), want, rtol=1e-5)
    scores[3] = 20.0
    sums = [sum(own) for own in itertools.combinations(scores.astype(float), 2)]
    np.testing.assert_allclose(call(scores), np.logaddexp.reduce(sums), rtol=1e-5)
    lost = newton(scores, 2, np.float32)
    assert abs(lost / np.exp(np.logaddexp.reduce(sums) - 40.0) - 1.0) > 0.5


def test_what_does_not_fit_is_refused():
    scores = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"labels must have the shape of scores"):
        multilabel_cross_entropy(scores, scores[:1])
    with pytest.raises(
        ValueError, match=r"kept must be bool and broadcast to \(2, 3\)"
    ):
        multilabel_cross_entropy(scores, scores, scores)
    with pytest.raises(ValueError, match=r"positives must be integers \[..., K\]"):
        sparse_multilabel_cross_entropy(scores, scores)
    with pytest.raises(ValueError, match=r"positives must be integers \[..., K\]"):
        sparse_multilabel_cross_entropy(scores, np.zeros((3, 1), np.int32))
    with pytest.raises(ValueError, match="size must be at least 0, got -1"):
        log_subset_partition(scores, -1)
    with pytest.raises(ValueError, match="at least one class"):
        log_subset_partition(scores[:, :0], 1)
