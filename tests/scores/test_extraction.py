import numpy as np
import pytest

from kexue_jax.scores.extraction import (
    event_scores,
    fuzzy_argument_scores,
    likeness,
    scores_by_type,
    set_scores,
    triple_scores,
)

GOLD = [[(0, 2, "a"), (3, 4, "b")], [], [(1, 5, "a")]]
PREDICTED = [[(0, 2, "a"), (3, 4, "a"), (0, 2, "a")], [(0, 1, "c")], [(1, 5, "a")]]


def test_counts_are_summed_over_examples_and_repetitions_count_once():
    got = set_scores(GOLD, PREDICTED)
    assert (got.right, got.predicted, got.gold) == (2, 4, 3)
    assert got[:3] == pytest.approx((2 / 4, 2 / 3, 4 / 7), rel=1e-12)
    each = [
        set_scores([g], [p], empty=1.0).f1 for g, p in zip(GOLD, PREDICTED, strict=True)
    ]
    assert np.mean(each) != pytest.approx(got.f1)


def test_f1_does_not_change_when_sides_are_exchanged():
    got, turned = set_scores(GOLD, PREDICTED), set_scores(PREDICTED, GOLD)
    assert got.f1 == turned.f1
    assert got[:2] == turned[:2][::-1]
    assert set_scores(GOLD, GOLD)[:3] == (1.0, 1.0, 1.0)


def test_nothing_of_nothing_is_0_or_what_is_asked_for_and_never_nan():
    assert set_scores([], []) == (0.0, 0.0, 0.0, 0, 0, 0)
    assert set_scores([[]], [[]], empty=1.0) == (1.0, 1.0, 1.0, 0, 0, 0)
    assert set_scores([[1]], [[]], empty=1.0)[:3] == (0.0, 0.0, 0.0)
    assert set_scores([[]], [[1]], empty=1.0)[:3] == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="as many examples, got 1 and 2"):
        set_scores([[]], [[], []])


def test_types_have_scores_of_their_own_that_add_up():
    found = scores_by_type(GOLD, PREDICTED)
    assert {*found} == {"a", "b", "c"}
    assert found["a"][3:] == (2, 3, 2)
    assert found["b"] == (0.0, 0.0, 0.0, 0, 0, 1)
    assert found["c"] == (0.0, 0.0, 0.0, 0, 1, 0)
    whole = set_scores(GOLD, PREDICTED)
    sums = [sum(s[field] for s in found.values()) for field in (3, 4, 5)]
    assert sums == [*whole[3:]]
    by_length = scores_by_type(GOLD, PREDICTED, key=lambda span: span[1] - span[0])
    assert by_length[1][3:] == (0, 2, 1)


def test_triples_are_compared_after_normalisation():
    gold = [[("New York", "in", "USA"), ("york", "in", "usa")]]
    other = [[("new  york", "in", "usa"), ("york", "near", "usa")]]
    assert triple_scores(gold, other).right == 0
    plain = triple_scores(gold, other, normalise=lambda s: tuple(s.lower().split()))
    assert (plain.right, plain.predicted, plain.gold) == (1, 2, 2)


def test_objects_with_keys_are_compared_as_a_whole():
    gold = [[("甲", "演", {"@value": "A", "inWork": "B"})]]
    right = [[("甲", "演", {"inWork": "b", "@value": "a"})]]
    assert triple_scores(gold, right, normalise=str.upper).f1 == 1.0
    for other in ({"@value": "A"}, {"@value": "A", "inWork": "C"}, "A"):
        assert triple_scores(gold, [[("甲", "演", other)]]).f1 == 0.0


def test_an_event_is_right_only_with_all_its_arguments():
    gold = [[("buy", [("who", "A"), ("what", "B")]), ("sell", [("who", "A")])]]
    other = [[("buy", [("what", "B"), ("who", "A")]), ("sell", [])]]
    assert event_scores(gold, other)[3:] == (1, 2, 2)
    assert event_scores(gold, [[("buy", [("who", "A")])]]).right == 0


def test_alike_arguments_of_one_role_count_in_part():
    assert likeness("", "") == likeness("a", "b") == 0.0
    assert likeness("abcd", "xbxd") == 0.5  # a subsequence: no run of two is common
    gold = [[("buy", "who", "北京大学"), ("buy", "what", "书")]]
    other = [[("buy", "who", "北大"), ("sell", "what", "书")]]
    got = fuzzy_argument_scores(gold, other)
    assert got.right == pytest.approx(2 * 2 / 6, rel=1e-12)
    assert got[:2] == pytest.approx((got.right / 2,) * 2, rel=1e-12)


def test_every_argument_is_paired_once_and_the_most_alike_first():
    gold = [[("t", "r", "abcd"), ("t", "r", "ab")]]
    other = [[("t", "r", "ab"), ("t", "r", "abx"), ("t", "r", "ab")]]
    got = fuzzy_argument_scores(gold, other)
    assert (got.predicted, got.gold) == (2, 2)
    assert got.right == pytest.approx(1.0 + 2 * 2 / 7, rel=1e-12)
    turned = fuzzy_argument_scores(other, gold)
    assert turned.right == pytest.approx(got.right, rel=1e-12)


def test_likeness_is_never_less_than_strict_and_is_1_for_the_same():
    draws = np.random.default_rng(0)

    def drawn():
        return [
            (str(draws.choice(["t", "u"])), "r", "".join(draws.choice([*"ab"], 2)))
            for _ in range(draws.integers(0, 5))
        ]

    gold, other = [drawn() for _ in range(30)], [drawn() for _ in range(30)]
    strict, fuzzy = set_scores(gold, other), fuzzy_argument_scores(gold, other)
    assert fuzzy[4:] == strict[4:]
    assert strict.right < fuzzy.right <= min(fuzzy.predicted, fuzzy.gold)
    assert fuzzy_argument_scores(gold, gold).f1 == 1.0
    assert fuzzy_argument_scores([[]], [[]], empty=1.0).f1 == 1.0
