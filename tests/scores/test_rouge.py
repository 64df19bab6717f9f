import pytest

from kexue_jax.scores.rouge import (
    distinct_rouge_l,
    distinct_rouge_n,
    mean_character_rouge,
    rouge_l,
    rouge_n,
)


def test_repetitions_count_as_often_as_both_sides_have_them():
    one, two = (rouge_n("ababab", "abcd", order=n) for n in (1, 2))
    assert one == pytest.approx((1 / 3, 1 / 2, 0.4), rel=1e-12)
    assert two == pytest.approx((1 / 5, 1 / 3, 0.25), rel=1e-12)
    assert distinct_rouge_l(["ababab"], ["abcd"]) == pytest.approx((1, 1 / 2, 2 / 3))
    assert rouge_l("ababab", "abcd") == pytest.approx((1 / 3, 1 / 2, 0.4))
    assert rouge_n("aab", "aaab", order=1).precision == 1.0


def test_the_same_gives_1_and_f1_is_symmetric():
    for score in (rouge_l, lambda a, b: rouge_n(a, b, order=2)):
        assert score("北京大学", "北京大学") == (1.0, 1.0, 1.0)
        assert score("北京大学", "北大") == score("北大", "北京大学")[1::-1] + (
            score("北大", "北京大学").f1,
        )


def test_what_is_too_short_scores_0_and_never_nan():
    for a, b in (("", ""), ("", "x"), ("x", "")):
        assert rouge_l(a, b) == rouge_n(a, b, order=1) == (0.0, 0.0, 0.0)
        assert distinct_rouge_l([a], [b]) == (0.0, 0.0, 0.0)
    assert rouge_n("a", "a", order=2) == (0.0, 0.0, 0.0)
    assert distinct_rouge_l([], []) == (0.0, 0.0, 0.0)
    assert mean_character_rouge([".", "", " "], ["a", "a", "."]) == (0.0, 0.0, 0.0)


def test_long_texts_are_no_matter_of_recursion():
    assert rouge_l("ab" * 1500, "ab" * 1500).f1 == 1.0


def test_the_mean_is_over_texts_of_f1_of_characters_in_lower_case():
    got = mean_character_rouge(["Ab北", "ababab"], ["aB北", "abcd"])
    assert got == pytest.approx(((1 + 0.4) / 2, (1 + 0.25) / 2, (1 + 2 / 3) / 2))


def test_sentences_are_cut_at_points_for_subsequences():
    # In one row "ba" and "ab" share one character, cut they share both.
    assert mean_character_rouge(["b.a"], ["a.b"]).rouge_l == 1.0
    assert mean_character_rouge(["ba"], ["ab"]).rouge_l == 0.5


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="as many texts, at least one, got 1 and 2"):
        mean_character_rouge(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        mean_character_rouge([], [])
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        rouge_n("a", "a", order=0)


def test_distinct_n_grams_are_counted_once():
    for order, want in ((1, 2 / 3), (2, 0.4)):  # of ``rouge`` 1.0.1
        found = distinct_rouge_n("ababab", "abcd", order=order)
        assert found.f1 == pytest.approx(want)
        assert rouge_n("ababab", "abcd", order=order).f1 < found.f1
    assert distinct_rouge_n("", "ab", order=1).f1 == 0.0
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        distinct_rouge_n("a", "a", order=0)
