import pytest

from kexue_jax.scores.reading import (
    cmrc_exact_match,
    cmrc_f1,
    latin_words,
    mixed_segments,
    reading_scores,
    squad_exact_match,
    squad_f1,
)


def slow_f1(prediction, answers):
    """Every run of segments of the one, looked for in the other."""
    best = 0.0
    own = mixed_segments(prediction)
    for answer in answers:
        other = mixed_segments(answer)
        size = max(
            (
                b - a
                for a in range(len(own) + 1)
                for b in range(a, len(own) + 1)
                for c in range(len(other) + 1)
                if own[a:b] == other[c : c + b - a]
            ),
            default=0,
        )
        if size:
            p, r = size / len(own), size / len(other)
            best = max(best, 2 * p * r / (p + r))
    return best


CASES = [
    ("光荣和ω-force", ["光荣和ω-force", "光荣"], 1.0),
    ("光荣和koei", ["光荣"], 2 * 2 / (4 + 2)),
    ("2017年的3月", ["2017年3月"], 2 * 2 / (5 + 4)),  # "3 月" after another 的
    ("北京，上海", ["北京、上海"], 1.0),
    ("上海北京", ["北京上海"], 0.5),  # as bags they would be the same
    ("", ["北京"], 0.0),
    ("，。", ["，。"], 0.0),  # nothing is left of either
    ("Deep Learning", ["deep learning."], 2 * 2 / (2 + 3)),
    ("abc", ["xyz", "abc def", "ab"], 2 / 3),
]


@pytest.mark.parametrize(("prediction", "answers", "want"), CASES)
def test_f1_is_that_of_the_longest_common_run_of_segments(prediction, answers, want):
    got = cmrc_f1(prediction, answers)
    assert got == pytest.approx(want, rel=1e-12)
    assert got == pytest.approx(slow_f1(prediction, answers), rel=1e-12)


def test_exact_match_does_not_see_punctuation_case_and_outer_spaces():
    assert cmrc_exact_match(" 《三国》—Wei ", ["魏", "三国—wei"]) == 1.0
    assert cmrc_exact_match("A-B：C", ["abc"]) == 1.0
    assert cmrc_exact_match("a b", ["ab"]) == 0.0  # inner spaces stay
    assert cmrc_exact_match("三国.", ["三国"]) == 0.0  # and points of other scripts
    assert cmrc_exact_match("，", ["。"]) == 1.0
    assert cmrc_exact_match("…", [""]) == 0.0


def test_segments_are_chinese_characters_and_words_between():
    assert mixed_segments("在iPhone 12上，用iOS") == [
        "在",
        "iphone",
        "12",
        "上",
        "用",
        "ios",
    ]
    assert mixed_segments("Model-3") == ["model3"]
    assert mixed_segments("ひらがな漢") == ["ひらがな", "漢"]
    assert mixed_segments("") == mixed_segments("。") == []
    assert mixed_segments("ab 北", words=list) == ["a", "b", " ", "北"]
    assert latin_words("it cost $3.50, (see u.s. law)") == [
        "it", "cost", "$", "3.50", ",", "(", "see", "u.s.", "law", ")",
    ]  # fmt: skip


def test_squad_counts_words_as_a_bag():
    assert squad_exact_match("the  Old-Town", ["oldtown", "x"]) == 1.0
    assert squad_exact_match("theory", ["ory"]) == 0.0  # articles are whole words
    assert squad_f1("town old", ["the old town"]) == 1.0
    assert squad_f1("a b b", ["b c"]) == pytest.approx(2 / 4)
    assert squad_f1("x", ["a"]) == squad_f1("", [""]) == 0.0
    assert squad_f1("北京大学", ["北京"]) == 0.0 < cmrc_f1("北京大学", ["北京"])


def test_means_are_over_all_questions_and_missing_predictions_score_0():
    answers = {"1": ["北京"], "2": ["上海", "沪"], "3": ["x y"], "4": ["z"]}
    predictions = {"1": "北京", "2": "沪上", "3": "y x", "5": "unasked"}
    got = reading_scores(predictions, answers)
    assert got == pytest.approx((1 / 4, (1 + 2 / 3 + 1 / 2) / 4, 1), rel=1e-12)
    got = reading_scores(
        predictions, answers, exact_match=squad_exact_match, f1=squad_f1
    )
    assert got == pytest.approx((1 / 4, 2 / 4, 1), rel=1e-12)


def test_questions_without_answers_are_refused():
    for score in (cmrc_f1, cmrc_exact_match, squad_f1, squad_exact_match):
        for answers in ([], "text"):
            with pytest.raises(ValueError, match="answers must be at least one"):
                score("x", answers)
    with pytest.raises(ValueError, match="at least one question, got none"):
        reading_scores({}, {})
