"""Texts with what people marked in them: spans, triples, events, answers.

Offsets are those of characters in the text as it was published, and half-open: a span
is ``text[start:stop]``, whatever the files of a set count.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """``text[start:stop]``, of some type."""

    start: int
    stop: int
    type: str


class Entities(NamedTuple):
    """A text and its entities, in the order of their places; they may nest."""

    text: str
    spans: tuple[Span, ...]


class Triple(NamedTuple):
    """What the text says of a subject and an object."""

    subject: Span
    predicate: str
    object: Span


class Relations(NamedTuple):
    """A text and its triples."""

    text: str
    triples: tuple[Triple, ...]


class MarkedPair(NamedTuple):
    """A text, two places in it and the one relation that they have."""

    text: str
    head: Span
    tail: Span
    relation: str


class Event(NamedTuple):
    """What happened, the word that says so, and who and what took part.

    The type of an argument is its role.
    """

    type: str
    trigger: Span | None
    arguments: tuple[Span, ...]


class Events(NamedTuple):
    """A text and its events."""

    text: str
    events: tuple[Event, ...]


class Answer(NamedTuple):
    """A part of a context: where it starts, and its text."""

    start: int
    text: str


class Question(NamedTuple):
    """A question on a context, with one answer or more that are right."""

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]


Example = Entities | Relations | MarkedPair | Events | Question


def text_of(example: Example) -> str:
    """Returns the text in which offsets count: that of a question is its context."""
    return example.context if isinstance(example, Question) else example.text


def spans_of(example: Example) -> list[Span]:
    """Returns all spans of an example.

    Of a triple they are the subject and the object, of an event the trigger, if there
    is one, and the arguments.

    >>> spans_of(Question("1", "Who?", "It is me.", (Answer(6, "me"),)))
    [Span(start=6, stop=8, type='answer')]
    """
    match example:
        case Entities(_, spans):
            return [*spans]
        case Relations(_, triples):
            return [span for t in triples for span in (t.subject, t.object)]
        case MarkedPair(_, head, tail, _):
            return [head, tail]
        case Events(_, events):
            each = [(event.trigger, *event.arguments) for event in events]
            return [span for spans in each for span in spans if span is not None]
        case Question(_, _, _, answers):
            return [Span(a.start, a.start + len(a.text), "answer") for a in answers]
    raise ValueError(f"example must be an annotated text, got {type(example).__name__}")


def check_annotations(
    examples: Iterable[Example], mentions: Iterable[Sequence[str]] | None = None
) -> None:
    """Refuses examples whose spans are not in their texts, or are not what they say.

    Args:
      examples: of any kind.
      mentions: for each example the words that the set gives for its spans, in the
        order of `spans_of`; None if it gives none.

    Raises:
      ValueError: if a span is empty, leaves its text, or holds other words; the example
        and the span are in the message.
    """
    examples = [*examples]
    given = [None] * len(examples) if mentions is None else [*mentions]
    for number, (example, words) in enumerate(zip(examples, given, strict=True)):
        text, spans = text_of(example), spans_of(example)
        if words is not None and len(words) != len(spans):
            raise ValueError(
                f"example {number} must have a mention for each of its {len(spans)} "
                f"spans, got {len(words)}: {text!r:.80}"
            )
        for at, span in enumerate(spans):
            found = text[span.start : span.stop]
            if not 0 <= span.start < span.stop <= len(text):
                raise ValueError(
                    f"spans of example {number} must be within {len(text)} characters "
                    f"and not empty, got {span}: {text!r:.80}"
                )
            if words is not None and found != words[at]:
                raise ValueError(
                    f"span {at} of example {number} must be {words[at]!r}, got "
                    f"{found!r} at {span}: {text!r:.80}"
                )
