import itertools
from collections import Counter

import numpy as np
import pytest

from kexue_jax.algorithms.neighbour_counts import (
    best_strength,
    counted,
    neighbour_scores,
    probabilities,
)

SIZE = 6


def text(seed=0, rows=20, length=9):
    draws = np.random.default_rng(seed)
    kept = np.arange(length) < draws.integers(2, length + 1, rows)[:, None]
    return draws.integers(0, SIZE, (rows, length)), kept


def slowly(rows, kept, strength, left, right):
    """The formula, token by token, with counts in dicts."""
    single, pairs = Counter(), Counter()
    for row, there in zip(rows.tolist(), kept.tolist(), strict=True):
        own = [token for token, is_there in zip(row, there, strict=True) if is_there]
        single.update(own)
        pairs.update(itertools.pairwise(own))
    total = sum(single.values())
    alone = [(single[v] + 1) / (total + SIZE) for v in range(SIZE)]
    found = []
    for v in range(SIZE):
        follows = alone[v]
        if left is not None:
            seen = sum(pairs[left, w] for w in range(SIZE))
            follows = (pairs[left, v] + strength * alone[v]) / (seen + strength)
        if right is not None:
            precedes = pairs[v, right] + strength * alone[right]
            follows *= precedes / (single[v] + strength)
        found.append(follows)
    return np.array(found) / sum(found)


@pytest.mark.parametrize("left", [None, 0, 5])
@pytest.mark.parametrize("right", [None, 2, 5])
def test_probabilities_are_those_of_the_formula(left, right):
    rows, kept = text()
    known = counted(rows, kept, vocabulary=SIZE, strength=3.0)
    got = probabilities(known, left, right)
    np.testing.assert_allclose(got, slowly(rows, kept, 3.0, left, right), rtol=1e-10)
    assert got.sum() == pytest.approx(1.0)


def test_hidden_neighbours_say_nothing_and_fillers_do_not_count():
    rows, kept = text()
    known = counted(rows, kept, vocabulary=SIZE, strength=2.0)
    tokens = np.array([[1, 5, 2, 3]])
    places, targets = np.array([[2, 0, 3]]), np.array([[2, 1, 3]])
    weight = np.array([[1.0, 1.0, 0.0]])
    found = neighbour_scores(known, tokens, places, targets, weight, unknown=[5])
    first, second = (slowly(rows, kept, 2.0, *at) for at in ((None, 3), (None, None)))
    assert found.bits == pytest.approx(-np.log2(first[2] * second[1]) / 2)
    right = (np.argmax(first) == 2) + (np.argmax(second) == 1)
    assert found.accuracy == right / 2
    common = np.argmax(np.bincount(rows[kept]))
    assert found.often == np.isin([2, 1], common).mean()
    # What is never to be told takes no part.
    options = dict(unknown=[5], never=[4, 5])
    found = neighbour_scores(known, tokens, places, targets, weight, **options)
    first, second = first[:4] / first[:4].sum(), second[:4] / second[:4].sum()
    assert found.bits == pytest.approx(-np.log2(first[2] * second[1]) / 2)


def test_pairs_count_for_more_where_they_tell_more():
    draws = np.random.default_rng(0)
    cycle = (np.arange(400)[:, None] + np.arange(9)) % SIZE  # the next is certain
    noise = draws.integers(0, SIZE, (400, 9))
    kept = np.ones(cycle.shape, bool)
    options = dict(vocabulary=SIZE, strengths=(1.0, 256.0), places=200)
    assert best_strength(cycle, kept, **options) == 1.0
    assert best_strength(noise, kept, **options) == 256.0


def test_nothing_to_count_or_to_tell_is_refused():
    rows, kept = text()
    with pytest.raises(ValueError, match=r"strength above 0.*0\.0"):
        counted(rows, kept, vocabulary=SIZE, strength=0.0)
    with pytest.raises(ValueError, match="0 tokens"):
        counted(rows, np.zeros_like(kept), vocabulary=SIZE, strength=1.0)
    known = counted(rows, kept, vocabulary=SIZE, strength=1.0)
    nothing = np.zeros((1, 2), int)
    with pytest.raises(ValueError, match="weight"):
        neighbour_scores(known, rows, nothing, nothing, nothing, unknown=[])
