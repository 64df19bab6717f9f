"""Between characters of a text and its tokens, on the host."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class TokenPlaces:
    """Where tokens stand in their text.

    Spans of characters are half-open, ``text[start:stop]``; spans of tokens include
    both ends, as losses and decoding have them.
    """

    def __init__(
        self,
        offsets: np.ndarray,
        added: np.ndarray,
        segments: np.ndarray | None = None,
        *,
        text: str = "",
    ):
        """Takes what a tokeniser says.

        Args:
          offsets: ``[T, 2]`` integers, where each token begins and ends in its text.
          added: bool ``[T]``, True for marks, which stand for no character.
          segments: ``[T]`` integers; with them, spans are those of the second of two
            texts, as a question's context is. None: of the only one.
          text: the characters, for `words`.
        """
        real = ~np.asarray(added, bool)
        if segments is not None:
            real = real & (np.asarray(segments) == 1)
        self.real, self.text = real, text
        self._offsets = np.asarray(offsets)
        starts, stops = self._offsets[real, 0].tolist(), self._offsets[real, 1].tolist()
        places = np.flatnonzero(real).tolist()
        # Of tokens without width, or several within one character, the outer ones.
        self._first = dict(zip(reversed(starts), reversed(places), strict=True))
        self._last = dict(zip(stops, places, strict=True))

    def tokens(self, start: int, stop: int) -> tuple[int, int] | None:
        """Returns the first and the last token of characters, or None.

        None says that a token reaches over the border, or that the text was cut.
        """
        first, last = self._first.get(start), self._last.get(stop)
        if first is None or last is None or first > last:
            return None
        return first, last

    def characters(self, first: int, last: int) -> tuple[int, int]:
        """Returns start and stop, in the text, of tokens; both must stand for some."""
        return int(self._offsets[first, 0]), int(self._offsets[last, 1])

    def words(self, first: int, last: int) -> str:
        """Returns the characters of tokens."""
        start, stop = self.characters(first, last)
        return self.text[start:stop]


class Placed(NamedTuple):
    """Spans of a text as tokens.

    Attributes:
      spans: ``(type, first, last)`` of those that tokens can mark.
      missed: how many others there are.
    """

    spans: list[tuple[str, int, int]]
    missed: int


def placed(places: TokenPlaces, spans: Iterable[Sequence]) -> Placed:
    """Returns spans ``(start, stop, type)`` of characters as spans of tokens.

    >>> places = TokenPlaces(np.array([[0, 0], [0, 2], [2, 3]]), np.array([1, 0, 0]))
    >>> placed(places, [(0, 3, "LOC"), (1, 3, "PER")])
    Placed(spans=[('LOC', 1, 2)], missed=1)
    """
    found, missed = [], 0
    for start, stop, kind in spans:
        tokens = places.tokens(start, stop)
        if tokens is None:
            missed += 1
        else:
            found.append((kind, *tokens))
    return Placed(found, missed)
