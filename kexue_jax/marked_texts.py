"""Texts with what was marked in them, as an experiment can show them: plain data."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Kind = Literal["right", "wrong", "missed"]


class Mark(NamedTuple):
    """``text[start:stop]``, what it is, and whether that is so.

    `kind` is ``right``, ``wrong`` (found, and not there) or ``missed`` (there, and not
    found).
    """

    start: int
    stop: int
    label: str
    kind: Kind = "right"


class MarkedTexts(NamedTuple):
    """Texts and their marks, which may lie within each other or cross."""

    title: str
    texts: Sequence[tuple[str, Sequence[Mark]]]
    note: str = ""
