"""Texts to tokens of one character each, for models that are trained from scratch."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from kexue_jax.data.wordpiece import MARKS, Tokenized


class Characters:
    """Every character is a token: spans of any place can be marked.

    [CLS] stands in front and [SEP] behind each text, as in BERT.
    """

    def __init__(
        self,
        texts: Iterable[str],
        *,
        least: int = 2,
        lowercase: bool = True,
        length: int | None = 512,
    ):
        """Learns which characters there are.

        Args:
          texts: those to learn from.
          least: how often a character must occur to have a token; others are [UNK].
          lowercase: whether characters are read in lower case.
          length: the most tokens of a text, marks included; of two texts the longer one
            is cut first. None cuts nothing.

        Raises:
          ValueError: if `length` is below 4.
        """
        if length is not None and length < 4:
            raise ValueError(f"length must be at least 4, got {length}")
        self.lowercase, self.length = lowercase, length
        counts = Counter(sign for text in texts for sign in map(self._folded, text))
        common = sorted(s for s, count in counts.items() if count >= least)
        self._pieces = [*MARKS, *common]
        self._row_of = {piece: row for row, piece in enumerate(self._pieces)}
        self.vocabulary = len(self._pieces)
        self.padding, self.unknown, self.first, self.between, self.hidden = range(5)

    def _folded(self, sign):
        lower = sign.lower() if self.lowercase else sign
        return lower if len(lower) == 1 else sign

    def encode(self, text: str, second: str | None = None) -> Tokenized:
        """Returns the tokens of a text, or of two that belong together."""
        sides = [len(part) for part in (text, second) if part is not None]
        if self.length is not None:
            room = self.length - 1 - len(sides)
            while sum(sides) > room:
                longest = max(range(len(sides)), key=lambda at: (sides[at], at))
                others = sum(sides) - sides[longest]
                rival = max((s for i, s in enumerate(sides) if i != longest), default=0)
                sides[longest] = max(room - others, min(rival, sides[longest] - 1))
        rows, segments, added = [(self.first, 0, 0)], [0], [True]
        for segment, size in enumerate(sides):
            part = (text, second)[segment] or ""
            for place, sign in enumerate(part[:size]):
                row = self._row_of.get(self._folded(sign), self.unknown)
                rows.append((row, place, place + 1))
            rows.append((self.between, 0, 0))
            segments += [segment] * (size + 1)
            added += [False] * size + [True]
        table = np.array(rows, np.int32)
        return Tokenized(
            table[:, 0].copy(),
            np.array(segments, np.int32),
            table[:, 1:].copy(),
            np.array(added, bool),
        )

    def encode_all(self, texts: Sequence[str | tuple[str, str]]) -> list[Tokenized]:
        """Returns what `encode` does for each."""
        return [
            self.encode(*((text,) if isinstance(text, str) else text)) for text in texts
        ]

    def pieces(self, tokens: Sequence[int] | np.ndarray) -> list[str]:
        """Returns the characters, or marks, that tokens stand for."""
        return [self._pieces[int(token)] for token in tokens]

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all that determines the tokens of a text."""
        about = (self._pieces, self.lowercase, self.length)
        return hashlib.sha256(repr(about).encode()).hexdigest()
