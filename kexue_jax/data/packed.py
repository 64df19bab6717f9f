"""Texts of any length in rows of one length, whole where they fit: for pretraining.

A row is [CLS], then a text and [SEP], and so on, then padding. What belongs together,
such as the characters of a word, goes with the tokens.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.data.order import Shuffled
from kexue_jax.data.wordpiece import Tokenized

Batch = dict[str, np.ndarray]
Pieces = Callable[[np.ndarray], list[str]]
Starts = Callable[[str, Tokenized, Pieces], np.ndarray]
ENDS = frozenset("。！？；!?;\n")
"""Signs behind which a text that is too long for a row is cut, if it has them."""


def every_token(text: str, tokenized: Tokenized, pieces: Pieces) -> np.ndarray:
    """Each token is a word: bool ``[T]``, all True."""
    del text, pieces
    return np.ones(len(tokenized.tokens), bool)


def whole_pieces(text: str, tokenized: Tokenized, pieces: Pieces) -> np.ndarray:
    """A word is a piece of WordPiece and those that go on (``##``): bool ``[T]``."""
    del text
    return np.array([not p.startswith("##") for p in pieces(tokenized.tokens)], bool)


def words_of(
    text: str,
    tokenized: Tokenized,
    pieces: Pieces,
    *,
    words: Callable[[str], Sequence[str]],
) -> np.ndarray:
    """A word is what a function cuts out of the text: bool ``[T]``, True at its start.

    Args:
      text, tokenized, pieces: as the others take them; `pieces` is not needed.
      words: cuts a text into words, which joined give the text, as
        `kexue_jax.data.word_granular.jieba_words` makes it.

    Raises:
      ValueError: if the words joined are not the text.
    """
    del pieces
    cut = [*words(text)]
    if "".join(cut) != text:
        raise ValueError(f"words must be parts of {text!r:.60}, got {cut!r:.120}")
    number = np.repeat(np.arange(len(cut)), [len(word) for word in cut])
    number = np.append(number, len(cut))  # where no sign stands
    own = number[np.minimum(tokenized.offsets[:, 0], len(text))]
    new = np.append(True, (own[1:] != own[:-1]) | tokenized.added[:-1])
    return new | tokenized.added


def placed(sizes: Sequence[int], *, room: int) -> list[list[int]]:
    """Returns which things go into which rows: each into the fullest that has room.

    Args:
      sizes: of things, from 1 to `room`, in the order in which they come.
      room: of a row.

    Returns:
      Rows of numbers of things, each of them once.

    Raises:
      ValueError: if a size is out of range.

    >>> placed([3, 4, 2, 1], room=5)
    [[0, 2], [1, 3]]
    """
    rows: list[list[int]] = []
    free: list[list[int]] = [[] for _ in range(room + 1)]  # rows by what they have left
    for number, size in enumerate(sizes):
        if not 1 <= size <= room:
            raise ValueError(f"sizes must be from 1 to {room}, got {size}")
        left = next((left for left in range(size, room + 1) if free[left]), room)
        if free[left]:
            row = free[left].pop()
            rows[row].append(number)
        else:
            row = len(rows)
            rows.append([number])
        free[left - size].append(row)
    return rows


class Piece(NamedTuple):
    """Tokens of a text or of a part of one, without marks, and where words start."""

    tokens: np.ndarray
    starts: np.ndarray


def _cut(text: str, tokenized: Tokenized, starts: np.ndarray, room: int):
    """Yields the pieces of a text: cut behind a sentence, or else before a word."""
    own = np.flatnonzero(~tokenized.added)
    tokens, starts = tokenized.tokens[own], starts[own].copy()
    stops = tokenized.offsets[own, 1]
    starts[:1] = True
    at = 0
    while len(tokens) - at > room:
        inside = range(at + room, at + room // 2, -1)
        ends = (n for n in inside if text[stops[n - 1] - 1 : stops[n - 1]] in ENDS)
        words = (n for n in inside if starts[n])
        stop = next(ends, None) or next(words, at + room)
        starts[stop] = True
        yield Piece(tokens[at:stop], starts[at:stop])
        at = stop
    if len(tokens) > at:
        yield Piece(tokens[at:], starts[at:])


class Packed:
    """A source of rows; every epoch is a permutation of all of them.

    A batch holds ``tokens`` int32 ``[B, T]`` and ``words`` int32 ``[B, T]``: the number
    of the word in its row, from 0 on, and -1 for marks, unknown tokens and padding.
    """

    def __init__(
        self,
        texts: Sequence[str],
        *,
        tokenizer: Any,
        length: int,
        batch: int,
        starts: Starts = every_token,
        seed: int = 0,
    ):
        """Reads the texts and packs them.

        Args:
          texts: at least one with a token. They are packed in random order.
          tokenizer: with ``encode_all``, ``pieces`` and the marks of `WordPiece`, that
            cuts nothing.
          length: T, at least 3. A longer text is cut behind its sentences.
          batch: B, at least 1.
          starts: where words start, as `every_token`, `whole_pieces` or, bound,
            `words_of` say it.
          seed: of the packing and of the order.

        Raises:
          ValueError: if a number is out of range, or there are no tokens.
        """
        if length < 3 or batch < 1:
            raise ValueError(
                f"rows need length >= 3 and batch >= 1, got {length} and {batch}"
            )
        self.length, self.batch, self.padding = length, batch, tokenizer.padding
        pieces = [
            piece
            for text, tokenized in zip(texts, tokenizer.encode_all(texts), strict=True)
            for piece in _cut(
                text, tokenized, starts(text, tokenized, tokenizer.pieces), length - 2
            )
        ]
        if not pieces:
            raise ValueError(f"texts must have a token, got {len(texts)} without any")
        draws = np.random.Generator(np.random.Philox(seed))
        pieces = [pieces[number] for number in draws.permutation(len(pieces))]
        rows = placed([len(piece.tokens) + 1 for piece in pieces], room=length - 1)
        self.tokens = np.full((len(rows), length), tokenizer.padding, np.int32)
        self.starts = np.ones((len(rows), length), bool)
        for row, numbers in enumerate(rows):
            self.tokens[row, 0], at = tokenizer.first, 1
            for number in numbers:
                stop = at + len(pieces[number].tokens)
                self.tokens[row, at:stop] = pieces[number].tokens
                self.starts[row, at:stop] = pieces[number].starts
                self.tokens[row, stop] = tokenizer.between
                at = stop + 1
        marks = (tokenizer.first, tokenizer.between, tokenizer.padding)
        self._never = np.array([*marks, tokenizer.unknown, tokenizer.hidden])
        self._order = Shuffled(len(rows), batch, seed)

    def __len__(self) -> int:
        return len(self.tokens)

    def __call__(self, step: int) -> Batch:
        """Returns the batch of a step."""
        return self._rows(self._order.indices(step))

    def _rows(self, rows: np.ndarray) -> Batch:
        tokens = self.tokens[rows]
        words = np.cumsum(self.starts[rows], axis=1, dtype=np.int32) - 1
        return {
            "tokens": tokens,
            "words": np.where(np.isin(tokens, self._never), -1, words).astype(np.int32),
        }

    def all_batches(self) -> Iterator[Batch]:
        """Yields every row once; the last batch is filled up with rows of padding."""
        for at in range(0, len(self), self.batch):
            found = self._rows(np.arange(at, min(at + self.batch, len(self))))
            lacking = self.batch - len(found["tokens"])
            fills = {"tokens": self.padding, "words": -1}
            yield {
                name: np.pad(found[name], ((0, lacking), (0, 0)), constant_values=fill)
                for name, fill in fills.items()
            }

    @property
    def filled(self) -> float:
        """Which share of all places is no padding."""
        return float(np.mean(self.tokens != self.padding))

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all rows and of where words start."""
        digest = hashlib.sha256(repr(self.tokens.shape).encode())
        digest.update(np.ascontiguousarray(self.tokens).tobytes())
        digest.update(np.packbits(self.starts).tobytes())
        return digest.hexdigest()
