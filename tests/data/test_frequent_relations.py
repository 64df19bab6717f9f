import pytest

from kexue_jax.data.annotated import Relations, Span, Triple
from kexue_jax.data.corpora import Corpus
from kexue_jax.data.frequent_relations import frequent_relations


def text(*predicates):
    ends = Span(0, 1, "s"), Span(1, 2, "o")
    return Relations("ab", tuple(Triple(ends[0], p, ends[1]) for p in predicates))


def test_rare_predicates_go_and_texts_that_had_no_others():
    train = [text("a", "b"), text("a", "c"), text("c"), text("b", "a")]
    corpus = Corpus(train, [text("c")], [text("b"), text("a", "d")], {"x": 1})
    found = frequent_relations(corpus, most=2)
    assert list(found.train) == [train[0], text("a"), train[3]]
    assert not found.valid
    assert list(found.test) == [text("b"), text("a")]
    gone = {"predicates left out": 1, "texts left out": 2}
    assert found.notes == {"x": 1} | gone
    whole = frequent_relations(corpus, most=9)
    assert list(whole.train) == train
    with pytest.raises(ValueError, match="most must be at least 1, got 0"):
        frequent_relations(corpus, most=0)
