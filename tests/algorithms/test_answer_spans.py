from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.algorithms.answer_spans import best_span, decode_half_pointers

BEST = jax.jit(best_span, static_argnames=("longest", "count"))


def by_search(start, end, kept, longest, count):
    """Spans and scores of one row, by falling score."""
    length = len(start)
    spans = [
        (start[i] + end[j], i, j)
        for i in range(length)
        for j in range(i, min(i + longest, length))
        if kept[i] and kept[j]
    ]
    spans = sorted(spans, key=lambda s: (-s[0], s[1], s[2]))[:count]
    return spans + [(-np.inf, -1, -1)] * (count - len(spans))


@pytest.mark.parametrize(("longest", "count"), [(3, 4), (50, 1), (2, 40)])
def test_the_best_spans_are_those_of_a_search_through_all(longest, count):
    draws = np.random.default_rng(0)
    start, end = np.log(draws.random((2, 5, 9))).astype(np.float32)
    kept = draws.random((5, 9)) < 0.6
    kept[3] = False
    found = BEST(start, end, kept, longest=longest, count=count)
    for row in range(5):
        want = by_search(start[row], end[row], kept[row], longest, count)
        score, first, last = (np.array(own) for own in zip(*want, strict=True))
        np.testing.assert_array_equal(found.start[row], first)
        np.testing.assert_array_equal(found.end[row], last)
        np.testing.assert_allclose(found.score[row], score, rtol=1e-6)


def test_of_equal_spans_the_first_comes_first():
    flat = np.zeros(4, np.float32)
    found = BEST(flat, flat, longest=2, count=3)
    assert found.start.tolist() == [0, 0, 1]
    assert found.end.tolist() == [0, 1, 1]


def test_logarithms_are_added_where_probabilities_underflow():
    start, end = np.full((2, 3), -300.0, np.float32)
    end[2] = -200.0
    found = BEST(start, end, longest=2, count=1)
    assert (found.start.item(), found.end.item()) == (1, 2)
    assert found.score.item() == -500.0


def test_each_start_is_joined_with_the_nearest_end_behind_it():
    start, end = np.zeros((2, 10))
    start[[0, 2, 3, 8]], end[[1, 3, 5]] = 0.9, 0.9
    found = decode_half_pointers(start, end)
    assert found == [(0, 1), (2, 3), (3, 3)]  # 8 has no end behind it, 5 no start left
    draws = np.random.default_rng(1)
    for _ in range(50):
        start, end = draws.random((2, 12))
        want = []
        for i in range(12):
            ends = [j for j in range(i, 12) if end[j] > 0.6]
            if start[i] > 0.6 and ends:
                want.append((i, ends[0]))
        assert decode_half_pointers(start, end, threshold=0.6) == want


def test_what_does_not_fit_is_refused():
    row = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"must both be \[..., T\]"):
        best_span(row, row[:2])
    with pytest.raises(ValueError, match=r"kept must be bool \(3,\)"):
        best_span(row, row, row)
    for options in (dict(longest=0), dict(count=0)):
        with pytest.raises(ValueError, match="longest and count must be at least 1"):
            partial(best_span, **options)(row, row)
    with pytest.raises(ValueError, match=r"start and end must both be \[T\]"):
        decode_half_pointers(row, row[:2])
