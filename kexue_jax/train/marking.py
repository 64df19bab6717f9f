"""Marked texts as coloured HTML, and as plain text with brackets."""

import itertools
from collections.abc import Sequence

from kexue_jax.marked_texts import Mark
from kexue_jax.train import page

_ORDER = ("wrong", "missed", "right")  # what colours a part that several marks share
_SIGNS = {"right": "", "wrong": "!", "missed": "?"}


def _known(text: str, marks: Sequence[Mark]) -> list[Mark]:
    for mark in marks:
        if not 0 <= mark.start < mark.stop <= len(text):
            raise ValueError(
                f"a mark must be within {len(text)} characters and not empty, got "
                f"{mark}"
            )
        if mark.kind not in _ORDER:
            raise ValueError(f"kind must be one of {_ORDER}, got {mark.kind!r}")
    return sorted(marks, key=lambda m: (m.start, -m.stop, m.label))


def marked_html(text: str, marks: Sequence[Mark]) -> str:
    """Returns a text with its marks coloured, and named where they begin.

    Raises:
      ValueError: if a mark leaves the text, is empty, or is of no known kind.
    """
    marks = _known(text, marks)
    cuts = sorted({0, len(text), *(at for m in marks for at in (m.start, m.stop))})
    found = []
    for start, stop in itertools.pairwise(cuts):
        over = [m for m in marks if m.start <= start and stop <= m.stop]
        if not over:
            found.append(page.words(text[start:stop]))
            continue
        kind = next(k for k in _ORDER if any(m.kind == k for m in over))
        names = "".join(
            f'<small class="{m.kind}">{page.words(m.label)}</small>'
            for m in over
            if m.start == start
        )
        depth = min(len(over), 3)
        inside = page.words(text[start:stop])
        found.append(f'{names}<mark class="{kind} deep{depth}">{inside}</mark>')
    return "".join(found)


def marked_words(text: str, marks: Sequence[Mark]) -> str:
    """Returns a text with its marks in brackets; ``!`` is wrong and ``?`` missed.

    >>> marked_words("I am Ann", [Mark(5, 8, "PER", "missed")])
    'I am [Ann](?PER)'
    """
    marks = _known(text, marks)
    found = []
    for at, sign in enumerate([*text, ""]):
        closing = [m for m in marks if m.stop == at]
        for mark in sorted(closing, key=lambda m: -m.start):
            found.append(f"]({_SIGNS[mark.kind]}{mark.label})")
        found += ["["] * sum(m.start == at for m in marks)
        found.append(sign)
    return "".join(found)
