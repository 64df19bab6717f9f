import pytest

from kexue_jax.data.annotated import Entities
from kexue_jax.data.corpora import apart, corpus, cut_apart


def texts(*names):
    return [Entities(name, ()) for name in names]


MANY = texts(*(f"text {n % 40}" for n in range(100)))  # each two or three times


def test_parts_are_a_tenth_of_the_distinct_texts_and_share_none():
    whole = corpus(MANY)
    sets = [{example.text for example in part} for part in whole[:3]]
    assert [len(s) for s in sets] == [32, 4, 4]
    assert len(set.union(*sets)) == 40
    assert sum(map(len, whole[:3])) == 100
    assert whole.notes == {"repeated": 60, "shared": 0}
    order = [MANY.index(example) for example in whole.train]
    first = [n for n, at in enumerate(order) if at not in order[:n]]
    assert sorted(order[n] for n in first) == [order[n] for n in first]


def test_the_cut_follows_the_seed_and_nothing_else():
    assert corpus(MANY) == corpus(MANY, seed=0) != corpus(MANY, seed=1)


def test_parts_that_are_given_stay_whole_and_what_they_share_is_counted():
    given = texts("a", "text 1", "text 2", "text 2")
    whole = corpus(MANY, (), given)
    assert whole.test == given
    assert len({example.text for example in whole.valid}) == 4
    shared = sum(e.text in ("text 1", "text 2") for e in whole.train + whole.valid)
    assert whole.notes["shared"] == shared > 0
    only = apart(whole)
    held = {example.text for example in given}
    assert not {example.text for example in only.train + only.valid} & held
    assert len(only.train) + len(only.valid) == 100 - shared
    assert only.notes["shared"] == 0
    assert corpus(MANY, given, given).train == MANY


def test_valid_that_is_in_test_is_taken_out():
    whole = corpus(texts("a", "b", "c"), texts("b", "d"), texts("d", "a"))
    assert whole.notes["shared"] == 3
    assert apart(whole)[:3] == (texts("c"), texts("b"), texts("d", "a"))


def test_few_texts_give_one_to_each_part():
    whole = corpus(texts("a", "b", "c", "d"))
    assert [len(part) for part in whole[:3]] == [2, 1, 1]
    assert cut_apart([], 2, seed=0) == ([], [[], []])
    with pytest.raises(ValueError, match="parts must be from 0 to 9, got 10"):
        cut_apart(MANY, 10, seed=0)
