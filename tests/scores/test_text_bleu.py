import math
from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.scores.bleu import sentence_bleu
from kexue_jax.scores.text_bleu import (
    corpus_text_bleu,
    floored_bleu,
    mean_character_bleu,
)


def test_no_precision_is_0_unless_all_are():
    assert floored_bleu("abcd", ["abcd"]) == 1.0
    want = (3 / 4 * 2 / 3 * 1 / 2 * 0.1 / 1) ** 0.25
    assert floored_bleu("abcd", ["abce"]) == pytest.approx(want, rel=1e-12)
    assert floored_bleu("xyz", ["abc"]) == floored_bleu("", ["abc"]) == 0.0
    # Two tokens have no trigrams: 0.1 of one stands for each of the longer ones.
    want = (1 * 1 * 0.1 * 0.1) ** 0.25 * math.exp(1 - 3 / 2)
    assert floored_bleu("ab", ["abc"]) == pytest.approx(want, rel=1e-12)


def test_of_references_the_nearest_length_and_the_most_frequent_grams_count():
    # Each reference has one a, so that of two one counts; another has both.
    want = (1 / 2 * 0.1 * 0.1 * 0.1) ** 0.25
    assert floored_bleu("aa", ["ab", "ba"]) == pytest.approx(want, rel=1e-12)
    want = (2 / 2 * 0.1 * 0.1 * 0.1) ** 0.25
    assert floored_bleu("aa", ["ab", "aca"]) == pytest.approx(want, rel=1e-12)
    assert floored_bleu("abcd", ["abc", "abcde"]) == pytest.approx(1.0, rel=1e-12)


def test_it_is_the_compiled_one_from_four_tokens_on():
    draws = np.random.default_rng(0)
    own, gold = draws.integers(0, 3, (2, 20, 7))
    lengths = np.full(20, 7)
    compiled = jax.jit(partial(sentence_bleu, smoothing="floor"))
    got = compiled(own, lengths, gold[:, None], lengths[:, None])
    pairs = zip(own.tolist(), gold.tolist(), strict=True)
    want = [floored_bleu(a, [b]) for a, b in pairs]
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_mean_is_over_texts_and_an_empty_one_is_0():
    own, gold = ["北京大学的", "", "上"], ["北京大学的", "上海", "上海的人"]
    got = mean_character_bleu(own, gold)
    assert got == pytest.approx((1.0 + 0.0 + floored_bleu("上", ["上海的人"])) / 3)


def test_case_does_not_matter_and_spaces_are_tokens():
    assert mean_character_bleu(["ABCD"], ["abcd"]) == 1.0
    want = floored_bleu(["a", "", "", "b"], [["a", "b"]])
    assert mean_character_bleu(["a b"], ["ab"]) == want < 1.0


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="as many texts, at least one, got 1 and 0"):
        mean_character_bleu(["a"], [])
    with pytest.raises(ValueError, match="references must be at least one"):
        floored_bleu("a", [])
    for references in ([], [["a"]]):
        with pytest.raises(ValueError, match="references must be rows of 2 texts"):
            corpus_text_bleu(["a", "b"], references)
