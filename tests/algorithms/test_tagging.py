import itertools

import numpy as np
import pytest

from kexue_jax.algorithms.tagging import (
    allowed_transitions,
    repaired_spans,
    strict_spans,
    tag_names,
    tags_of_spans,
)

every = pytest.mark.parametrize("scheme", ["BIO", "BIOES", "BMES"])


def drawn_spans(draws, length):
    """Spans side by side, some of which touch."""
    cuts = np.flatnonzero(draws.random(length + 1) < 0.4).tolist()
    return [
        (a, b, str(draws.choice(["x", "y-z"])))
        for a, b in itertools.pairwise(cuts)
        if draws.random() < 0.7
    ]


@every
def test_tags_give_their_spans_back_in_both_readings(scheme):
    draws = np.random.default_rng(0)
    for _ in range(300):
        spans = drawn_spans(draws, 12)
        tags = tags_of_spans(reversed(spans), 12, scheme)
        assert strict_spans(tags, scheme) == spans
        assert repaired_spans(tags, scheme) == spans


def test_the_letters_are_those_of_the_schemes():
    spans = [(0, 1, "a"), (1, 3, "b"), (4, 7, "a")]
    for scheme, want in (
        ("BIO", "B-a B-b I-b O B-a I-a I-a O"),
        ("BIOES", "S-a B-b E-b O B-a I-a E-a O"),
        ("BMES", "S-a B-b E-b O B-a M-a E-a O"),
    ):
        assert " ".join(tags_of_spans(spans, 8, scheme)) == want
    assert tag_names("ab") == ["O", "B-a", "I-a", "B-b", "I-b"]
    assert len(tag_names(range(10), "BMES")) == 41
    assert tags_of_spans([], 0) == strict_spans([]) == repaired_spans([]) == []


@every
def test_a_sequence_is_allowed_exactly_if_its_spans_give_it_back(scheme):
    names = tag_names("ab", scheme)
    allowed = allowed_transitions(names, scheme)
    seen = set()
    for numbers in itertools.product(range(len(names)), repeat=3):
        kept = allowed.first[numbers[0]] and allowed.last[numbers[-1]]
        kept = kept and all(allowed.moves[pair] for pair in itertools.pairwise(numbers))
        tags = [names[n] for n in numbers]
        spans = strict_spans(tags, scheme)
        assert kept == (tags_of_spans(spans, 3, scheme) == tags)
        if kept:
            assert repaired_spans(tags, scheme) == spans
        seen.add(kept)
    assert seen == {True, False}


def test_strict_reading_passes_over_what_repairing_keeps():
    tags = ["B-a", "I-b", "I-b", "O", "I-a", "B-a"]
    assert strict_spans(tags) == [(0, 1, "a"), (5, 6, "a")]
    assert repaired_spans(tags) == [(0, 1, "a"), (1, 3, "b"), (4, 5, "a"), (5, 6, "a")]
    tags = ["B-a", "M-a", "S-a", "E-a"]
    assert strict_spans(tags, "BMES") == [(2, 3, "a")]
    assert repaired_spans(tags, "BMES") == [(0, 2, "a"), (2, 3, "a"), (3, 4, "a")]


def test_wrong_arguments_are_refused():
    for span in ((0, 0, "a"), (2, 4, "a"), (-1, 1, "a")):
        with pytest.raises(ValueError, match="a span must be within 3 places"):
            tags_of_spans([span], 3)
    with pytest.raises(ValueError, match="spans must not overlap"):
        tags_of_spans([(0, 2, "a"), (1, 3, "b")], 3)
    for tag in ("S-a", "B", "B-", "a", ""):
        for read in (strict_spans, repaired_spans, allowed_transitions):
            with pytest.raises(ValueError, match="a tag of BIO must be O, or one of"):
                read([tag])
    with pytest.raises(ValueError, match="scheme must be one of"):
        tag_names(["a"], "IOB1")
