import pytest

from kexue_jax.data.annotated import (
    Answer,
    Entities,
    Event,
    Events,
    MarkedPair,
    Question,
    Relations,
    Span,
    Triple,
    check_annotations,
    spans_of,
    text_of,
)

TEXT = "黄河流过兰州。"
RIVER, CITY = Span(0, 2, "river"), Span(4, 6, "city")
EXAMPLES = [
    (Entities(TEXT, (RIVER, CITY)), ["黄河", "兰州"]),
    (Relations(TEXT, (Triple(RIVER, "through", CITY),)), ["黄河", "兰州"]),
    (MarkedPair(TEXT, CITY, RIVER, "on"), ["兰州", "黄河"]),
    (
        Events(TEXT, (Event("flow", Span(2, 4, "trigger"), (RIVER, CITY)),)),
        ["流过", "黄河", "兰州"],
    ),
    (Events(TEXT, (Event("flow", None, (CITY,)), Event("be", None, ()))), ["兰州"]),
    (
        Question("q", "哪条河？", TEXT, (Answer(0, "黄河"), Answer(0, "黄"))),
        ["黄河", "黄"],
    ),
]


@pytest.mark.parametrize(("example", "words"), EXAMPLES)
def test_spans_of_every_kind_are_parts_of_its_text(example, words):
    assert text_of(example) == TEXT
    assert [TEXT[a:b] for a, b, _ in spans_of(example)] == words
    check_annotations([example])
    check_annotations([example], [words])
    other = [word + "." for word in words]
    with pytest.raises(ValueError, match=r"span 0 of example 1 must be '.*\.'"):
        check_annotations([example, example], [words, other])
    with pytest.raises(ValueError, match="a mention for each"):
        check_annotations([example], [[*words, "黄"]])


@pytest.mark.parametrize("span", [(3, 3), (4, 3), (-1, 2), (5, 8), (7, 8)])
def test_spans_outside_of_their_texts_are_refused_with_the_example(span):
    examples = [Entities(TEXT, ()), Entities(TEXT, (CITY, Span(*span, "x")))]
    with pytest.raises(ValueError, match=r"spans of example 1 must be within 7 .*黄河"):
        check_annotations(examples)


def test_what_is_no_annotated_text_is_refused():
    with pytest.raises(ValueError, match="must be an annotated text, got Span"):
        spans_of(CITY)
