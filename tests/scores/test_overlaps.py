import itertools

import numpy as np
import pytest

from kexue_jax.scores.overlaps import (
    common_subsequence,
    common_subsequence_length,
    common_substring_length,
    shares,
)


def subsequences(text):
    return {
        "".join(chosen)
        for size in range(len(text) + 1)
        for chosen in itertools.combinations(text, size)
    }


def substrings(text):
    ends = range(len(text) + 1)
    return {text[a:b] for a in ends for b in ends if a <= b}


def test_lengths_are_those_of_the_longest_that_enumeration_finds():
    draws = np.random.default_rng(0)
    for _ in range(60):
        a, b = ("".join(draws.choice([*"xyz"], draws.integers(0, 8))) for _ in "ab")
        common = subsequences(a) & subsequences(b)
        assert common_subsequence_length(a, b) == max(map(len, common))
        found = "".join(common_subsequence(a, b))
        assert found in common
        assert len(found) == max(map(len, common))
        common = substrings(a) & substrings(b)
        assert common_substring_length(a, b) == max(map(len, common))


def test_items_may_be_anything_that_can_be_in_a_set():
    first, second = ["北", (1, 2), "京"], ["北", "x", (1, 2), "京"]
    assert common_subsequence(first, second) == first
    assert common_substring_length(first, second) == 2
    assert common_subsequence_length([], second) == 0
    assert common_substring_length(first, []) == 0


def test_shares_are_harmonic_and_nothing_of_nothing_is_0():
    for common, predicted, gold in ((0, 0, 0), (0, 3, 0), (0, 0, 3), (0, 2, 3)):
        assert shares(common, predicted, gold) == (0.0, 0.0, 0.0)
    precision, recall, f1 = shares(2, 3, 7)
    assert f1 == pytest.approx(2 / (1 / precision + 1 / recall), rel=1e-12)
