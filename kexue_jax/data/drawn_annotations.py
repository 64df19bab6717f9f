"""Annotated texts that are made up, for tests and where all has to be known."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from kexue_jax.data.annotated import (
    Answer,
    Entities,
    Event,
    Events,
    Question,
    Relations,
    Span,
    Triple,
    check_annotations,
)
from kexue_jax.data.corpora import Corpus

CITIES = (
    "北京",
    "上海",
    "广州",
    "深圳",
    "杭州",
    "南京",
    "成都",
    "武汉",
    "西安",
    "重庆",
)
PEOPLE = ("Ann", "Bob", "Cy", "Dee", "Eve", "Flo", "Gus", "Hal")
FIRMS = ("Acme", "Bolt", "Core", "Dyne", "Ergo", "Flux")


def _joined(parts: Iterable[str | tuple[str, str]]) -> tuple[str, list[Span]]:
    """A text of parts, and the spans of those that have a type."""
    text, spans = "", []
    for part in parts:
        words, kind = (part, "") if isinstance(part, str) else part
        if kind:
            spans.append(Span(len(text), len(text) + len(words), kind))
        text += words
    return text, spans


def _weather(draws, pairs, is_repeated) -> Entities:
    """Cities and their temperatures, ``；北京：21度；上海：22度；``."""
    count = int(draws.integers(pairs[0], pairs[1] + 1))
    cities = [*map(str, draws.choice(CITIES, count))]
    degrees = draws.integers(10, 40, count).tolist()
    if is_repeated:
        cities, degrees = cities[:1] * count, degrees[:1] * count
    parts: list[str | tuple[str, str]] = ["；"]
    for city, degree in zip(cities, degrees, strict=True):
        parts += [(city, "city"), "：", (f"{degree}度", "temperature"), "；"]
    text, spans = _joined(parts)
    return Entities(text, tuple(spans))


def _relation(draws) -> Relations:
    """People, firms that they work for, and firms that own others."""
    person, other = map(str, draws.choice(PEOPLE, 2, replace=False))
    firm, owner = map(str, draws.choice(FIRMS, 2, replace=False))
    parts: list[str | tuple[str, str]] = [(person, "s"), " works for ", (firm, "o")]
    owned, known = draws.integers(0, 2, 2).tolist()
    parts += [", which ", (owner, "w"), " owns"] if owned else []
    parts += [", and knows ", (other, "k")] if known else []
    text, spans = _joined([*parts, "."])
    place = {span.type: span for span in spans}
    triples = [Triple(place["s"], "works for", place["o"])]
    triples += [Triple(place["w"], "owns", place["o"])] if owned else []
    triples += [Triple(place["s"], "knows", place["k"])] if known else []
    return Relations(text, tuple(triples))


def _event(draws) -> Events:
    """A firm that buys another and, perhaps, a person who leaves one."""
    buyer, bought = map(str, draws.choice(FIRMS, 2, replace=False))
    person = str(draws.choice(PEOPLE))
    parts = [(buyer, "buyer"), " ", ("buys", "t"), " ", (bought, "bought")]
    leaves = bool(draws.integers(2))
    if leaves:
        parts += [", and ", (person, "who"), " ", ("leaves", "t"), " it"]
    text, spans = _joined([*parts, "."])
    found = [Event("purchase", spans[1], (spans[0], spans[2]))]
    if leaves:
        # Whom is left stands in both events.
        left = Span(*spans[2][:2], "whom")
        found.append(Event("departure", spans[4], (left, spans[3])))
    return Events(text, tuple(found))


def _question(draws) -> Question:
    """Who works where, of two people of whom the context tells."""
    first, second = map(str, draws.choice(PEOPLE, 2, replace=False))
    firms = [*map(str, draws.choice(FIRMS, 2, replace=False))]
    context, spans = _joined(
        [
            first,
            " works for ",
            (firms[0], "a"),
            ". ",
            second,
            " is with ",
            (firms[1], "b"),
        ]
    )
    asked = int(draws.integers(2))
    answer = Answer(spans[asked].start, firms[asked])
    name = (first, second)[asked]
    return Question(f"{name}?", f"Where is {name}?", context, (answer,))


_KINDS: dict[str, Callable[..., Any]] = {
    "weather": _weather,
    "relations": _relation,
    "events": _event,
    "questions": _question,
}
_SETS = {"re": "relations", "ee": "events", "mrc": "questions"}
"""How the names of real sets begin, and what their texts are marked with."""


def drawn(
    name: str,
    *,
    train: int = 64,
    held_out: int = 24,
    pairs: tuple[int, int] = (2, 6),
    is_repeated: bool = False,
    seed: int = 0,
) -> Corpus:
    """Returns texts that are made up, with what is in them.

    Args:
      name: ``weather``, cities and temperatures; ``relations``, ``events`` or
        ``questions`` about people and firms; or the name of a real set, such as
        ``re_duie``, for made-up texts that are marked as its texts are.
      train: how many texts there are to learn from.
      held_out: how many in each of the other two parts.
      pairs: of ``weather``, the fewest and the most cities of a line.
      is_repeated: of ``weather``, whether a line has one city and its temperature as
        often as it has any.
      seed: of the texts.

    Raises:
      ValueError: for another name.
    """
    kind = _SETS.get(name.partition("_")[0], name)
    if kind not in _KINDS:
        raise ValueError(f"name must be one of {', '.join(_KINDS)}, got {name!r}")
    draws = np.random.default_rng(seed)
    weather = {"pairs": pairs, "is_repeated": is_repeated}
    options = weather if kind == "weather" else {}
    parts = [
        [_KINDS[kind](draws, **options) for _ in range(count)]
        for count in (train, held_out, held_out)
    ]
    for part in parts:
        check_annotations(part)
    return Corpus(*parts, notes={})
