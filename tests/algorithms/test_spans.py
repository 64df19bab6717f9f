import itertools

import numpy as np
import pytest
from scipy.special import expit

from kexue_jax.algorithms.spans import (
    Span,
    certain_scores,
    decode_batch,
    decode_spans,
    padded_pairs,
    span_positives,
    span_probability,
    without_overlaps,
)


def test_decoding_finds_exactly_the_spans_above_the_threshold():
    scores = np.random.default_rng(0).normal(size=(3, 4, 7, 7)).astype(np.float32)
    scores[..., np.tril(np.ones((7, 7), bool), -1)] = -np.inf
    scores[0, 0, 0, 0] = np.nan
    for threshold in (0.0, 1.5):
        want = [
            [
                Span(c, i, j, float(own[c, i, j]))
                for c, i, j in np.ndindex(4, 7, 7)
                if own[c, i, j] > threshold
            ]
            for own in scores
        ]
        assert decode_batch(scores, threshold=threshold) == want
        strided = np.asfortranarray(scores[0])
        assert decode_spans(strided, threshold=threshold) == want[0]


def test_of_too_many_spans_those_of_the_highest_scores_are_read_in_their_order():
    scores = np.random.default_rng(2).normal(size=(2, 3, 5, 5)).astype(np.float32)
    for own, found in zip(scores, decode_batch(scores, most=4), strict=True):
        every = decode_spans(own)
        assert len(every) > 4
        least = sorted(span.score for span in every)[-4]
        assert found == [span for span in every if span.score >= least]
    assert decode_batch(scores, most=75) == decode_batch(scores)
    with pytest.raises(ValueError, match="most must be None or at least 1, got 0"):
        decode_spans(scores[0], most=0)


@pytest.mark.parametrize("threshold", [-3.0, 0.0, 8.0])
def test_what_is_certain_is_read_at_any_threshold(threshold):
    pairs = np.array([[[1, 2], [-1, -1]], [[0, 0], [0, 2]], [[-1, -1], [-1, -1]]])
    found = decode_spans(certain_scores(pairs, 3), threshold=threshold)
    assert [span[:3] for span in found] == [(0, 1, 2), (1, 0, 0), (1, 0, 2)]


def test_a_score_that_is_no_number_hides_no_span_of_another_text_or_type():
    scores = np.full((2, 3, 4, 4), np.nan, np.float32)
    scores[1, 2, 0, 3] = 1.0
    assert decode_batch(scores) == [[], [Span(2, 0, 3, 1.0)]]


def test_without_texts_types_or_tokens_there_are_no_spans():
    for shape in ((0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 0)):
        assert decode_batch(np.zeros(shape, np.float32), threshold=-1.0) == (
            [[]] * shape[0]
        )


def test_gold_spans_come_back_from_scores_made_of_them():
    draws = np.random.default_rng(1)
    texts = []
    for _ in range(20):
        pairs = np.sort(draws.integers(0, 9, (draws.integers(0, 6), 2)), axis=1)
        kinds = draws.integers(0, 3, len(pairs))
        texts.append(
            {
                (k, i, j)
                for k, (i, j) in zip(kinds.tolist(), pairs.tolist(), strict=True)
            }
        )
    positives = span_positives(texts, types=3, size=6)
    scores = np.full((20, 3, 9, 9), -1.0)
    for text, kind, place in np.ndindex(20, 3, 6):
        start, end = positives[text, kind, place]
        if start >= 0:
            scores[text, kind, start, end] = 1.0
    found = [{tuple(span)[:3] for span in spans} for spans in decode_batch(scores)]
    assert found == texts


def test_what_is_kept_is_flat_and_each_dropped_span_meets_a_better_one():
    draws = np.random.default_rng(2)
    for _ in range(50):
        ends = np.sort(draws.integers(0, 30, (12, 2)), axis=1)
        scores = draws.integers(1, 6, 12)
        spans = [
            Span(0, int(i), int(j), float(s))
            for (i, j), s in zip(ends, scores, strict=True)
        ]
        kept = without_overlaps(spans)
        assert kept == without_overlaps(spans[::-1])
        assert all(a.end < b.start for a, b in itertools.pairwise(kept))
        for span in set(spans) - set(kept):
            assert any(
                k.score >= span.score and k.start <= span.end and span.start <= k.end
                for k in kept
            )


def test_the_probability_of_a_score_is_the_sigmoid_of_its_double():
    scores = np.array([-400.0, -3.0, 0.0, 0.2, 50.0])
    np.testing.assert_allclose(span_probability(scores), expit(2 * scores), atol=1e-16)


def test_pairs_are_padded_and_those_that_come_twice_are_taken_once():
    found = padded_pairs([[[(1, 2), (0, 3), (1, 2)]], [[]]], size=3)
    want = [[[[0, 3], [1, 2], [-1, -1]]], [[[-1, -1]] * 3]]
    assert found.tolist() == want
    assert found.dtype == np.int32
    assert padded_pairs([]).shape == (0, 0, 0, 2)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"scores must be \[C, T, S\]"):
        decode_spans(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"scores must be \[B, C, T, S\]"):
        decode_batch(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="size must be at least 2"):
        padded_pairs([[[(0, 1), (1, 1)]]], size=1)
    with pytest.raises(ValueError, match="as many maps"):
        padded_pairs([[[]], [[], []]])
    for wrong in ((2, 0, 1), (0, 2, 1), (0, -1, 1)):
        with pytest.raises(ValueError, match=r"spans must be \(type, start, end\)"):
            span_positives([[wrong]], types=2)
