"""Chinese texts to the tokens of WoBERT: whole words where the vocabulary has them."""

import hashlib
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from kexue_jax.data.wordpiece import Tokenized, WordPiece, read_vocabulary


def jieba_words(dictionary: str | os.PathLike | None = None) -> Callable:
    """Returns a function that cuts a text into words by a dictionary alone.

    Args:
      dictionary: lines of a word, its count and perhaps its kind; default the one that
        comes with jieba, 349,046 words in version 0.42.

    Returns:
      From a text to its words, which joined give the text. Words that the dictionary
      has not are cut into characters: jieba's hidden Markov model, which guesses them,
      is off.

    Raises:
      ModuleNotFoundError: if the package jieba is not installed.
    """
    try:
        import jieba
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "jieba, which cuts Chinese texts into words, is not installed: install "
            "kexue-jax[chinese]",
            name="jieba",
        ) from error
    jieba.setLogLevel(60)  # it tells of loading on standard error
    cutter = jieba.Tokenizer() if dictionary is None else jieba.Tokenizer(dictionary)

    def cut(text: str) -> list[str]:
        return cutter.lcut(text, HMM=False)

    return cut


def _folded(text: str, lowercase: bool) -> tuple[str, list[int]]:
    """A text in lower case without accents, and where each character is from."""
    if not lowercase:
        return text, list(range(len(text)))
    signs: list[str] = []
    origin: list[int] = []
    for place, sign in enumerate(text):
        for part in unicodedata.normalize("NFD", sign.lower()):
            if unicodedata.category(part) != "Mn":
                signs.append(part)
                origin.append(place)
    return "".join(signs), origin


class WordGranular:
    """WoBERT's tokeniser.

    A text is cut into words; a word of the vocabulary is one token, and any other is
    read as `WordPiece` reads it: Chinese by characters. Marks that stand in a text are
    read as any other signs.

    Source: https://kexue.fm/archives/7758
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike,
        *,
        words: Callable[[str], Sequence[str]],
        lowercase: bool = True,
        length: int | None = 512,
    ):
        """Takes tokens as they are numbered, or the path of a ``vocab.txt``.

        Args:
          vocabulary: as that of `WordPiece`, with words of more than one character.
          words: cuts a text into words, which joined give the text; `jieba_words`.
          lowercase: whether texts are read in lower case and without accents.
          length: the most tokens of a text, marks included; of two texts the longer one
            is cut first. None cuts nothing.

        Raises:
          ValueError: if a mark is not in the vocabulary, or `length` is below 4.
        """
        if isinstance(vocabulary, str | os.PathLike):
            vocabulary = read_vocabulary(vocabulary)
        self.pieces_alone = WordPiece(vocabulary, lowercase=lowercase, length=None)
        if length is not None and length < 4:
            raise ValueError(f"length must be at least 4, got {length}")
        self.vocabulary = len(vocabulary)
        self._row_of = {piece: row for row, piece in enumerate(vocabulary)}
        self._words, self._lowercase, self._length = words, lowercase, length
        inner = self.pieces_alone
        self.padding, self.unknown, self.hidden = (
            inner.padding,
            inner.unknown,
            inner.hidden,
        )
        self.first, self.between, self.pieces = inner.first, inner.between, inner.pieces

    def _tokens(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yields each token, and where it begins and ends in the text."""
        folded, origin = _folded(text, self._lowercase)
        cut = list(self._words(folded))
        if "".join(cut) != folded:
            raise ValueError(f"words must be parts of {folded!r:.60}, got {cut!r:.120}")
        at = 0
        others, places = [], []  # words to be read by their pieces, all at once
        order: list[tuple[int, int, int] | int] = []
        for word in cut:
            row = self._row_of.get(word)
            if row is None:
                order.append(len(others))
                others.append(word)
                places.append(at)
            else:
                order.append((row, at, at + len(word)))
            at += len(word)
        read = self.pieces_alone.encode_all(others)
        for entry in order:
            if isinstance(entry, tuple):
                found: Iterable[tuple[int, int, int]] = [entry]
            else:
                piece, front = read[entry], places[entry]
                found = (
                    (int(token), front + int(start), front + int(stop))
                    for token, (start, stop) in zip(
                        piece.tokens[1:-1], piece.offsets[1:-1], strict=True
                    )
                )
            for token, start, stop in found:
                yield token, origin[start], origin[stop - 1] + 1

    def encode(self, text: str, second: str | None = None) -> Tokenized:
        """Returns the tokens of a text, or of two that belong together.

        Raises:
          ValueError: if a text holds half of a surrogate pair, which is no character.
        """
        sides = [list(self._tokens(t)) for t in (text, second) if t is not None]
        if self._length is not None:
            room = self._length - 1 - len(sides)
            while sum(map(len, sides)) > room:
                max(reversed(sides), key=len).pop()
        marks = (self.first, 0, 0), (self.between, 0, 0)
        rows, segments, added = [marks[0]], [0], [True]
        for segment, side in enumerate(sides):
            rows += [*side, marks[1]]
            segments += [segment] * (len(side) + 1)
            added += [False] * len(side) + [True]
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

    def fingerprint(self) -> str:
        """Returns the SHA-256 of the vocabulary and of how a long line is cut."""
        digest = hashlib.sha256(self.pieces_alone.fingerprint().encode())
        digest.update("\n".join(self._words("".join(self._row_of))).encode())
        digest.update(repr((self._lowercase, self._length)).encode())
        return digest.hexdigest()


def averaged_rows(
    table: np.ndarray, parts: Sequence[Sequence[int]], *, kept: Sequence[int]
) -> np.ndarray:
    """Returns a table of tokens with rows for new ones that are made of old ones.

    Args:
      table: ``[V, D]``, the vectors of tokens.
      parts: for each new token the old ones that it was before; the mean of their rows
        is its own, as WoBERT began.
      kept: the old tokens that stay, in their new order.

    Returns:
      ``[len(kept) + len(parts), D]`` in the dtype of `table`.

    Raises:
      ValueError: if a new token has no parts, or one is outside of the table.

    Source: https://kexue.fm/archives/7758
    """
    found = [np.asarray(part, int) for part in (kept, *parts)]
    if any(part.size == 0 for part in found[1:]):
        raise ValueError("parts must have a token each, got an empty one")
    every = np.concatenate(found)
    if every.size and not 0 <= every.min() <= every.max() < len(table):
        raise ValueError(f"tokens must be below {len(table)}, the rows of the table")
    made = [np.mean(table[part], axis=0, dtype=np.float64) for part in found[1:]]
    return np.concatenate(
        [table[found[0]], np.array(made, table.dtype).reshape(-1, table.shape[1])]
    )
