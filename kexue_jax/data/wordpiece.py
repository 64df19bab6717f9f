"""Text to the tokens of BERT: words split apart, then into pieces of a vocabulary."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenized(NamedTuple):
    """The tokens of a text, or of two, with [CLS] in front and [SEP] behind each.

    Attributes:
      tokens: ``[T]`` int32.
      segments: ``[T]`` int32, 1 for the second text and the [SEP] behind it.
      offsets: ``[T, 2]`` int32, where in its text a token begins and ends, in
        characters; 0 and 0 for what was put around.
      added: ``[T]`` bool, True for what was put around.
    """

    tokens: np.ndarray
    segments: np.ndarray
    offsets: np.ndarray
    added: np.ndarray


class PaddedBatch(NamedTuple):
    """Texts of about one length as rows.

    Attributes:
      texts: ``[N]`` int64, which texts the first N rows are; the others are padding.
      tokens, segments: ``[B, T]`` int32.
      kept: ``[B, T]`` bool, True for a token.
    """

    texts: np.ndarray
    tokens: np.ndarray
    segments: np.ndarray
    kept: np.ndarray


def read_vocabulary(path: str | os.PathLike) -> list[str]:
    """Returns the lines of a ``vocab.txt``, one token a line, the first being 0."""
    # Not splitlines: some vocabularies hold other signs that it takes for ends.
    with open(path, encoding="utf-8") as lines:
        return [line.removesuffix("\n") for line in lines]


class WordPiece:
    """BERT's tokeniser.

    Control characters go, white space and punctuation end a word, Chinese characters
    are words, and in lower case accents go. A word is the longest piece of the
    vocabulary that it begins with, then the longest that goes on (``##``), and so on;
    [UNK] if there is none, or if the word is too long. Marks that stand in a text, such
    as ``[MASK]``, are single tokens.

    The work is done by the library tokenizers, as in transformers, with its table of
    Unicode: a character that is none there yet is kept as a part of its word, where
    BERT's first code, in Python, leaves it out.
    """

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike,
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        chinese_apart: bool = True,
        longest_word: int = 100,
        length: int | None = 512,
    ):
        """Takes tokens as they are numbered, or the path of a ``vocab.txt``.

        Args:
          vocabulary: with all of ``MARKS``; of a token that comes twice the last place
            counts.
          lowercase: whether texts are read in lower case.
          strip_accents: default as `lowercase`.
          chinese_apart: whether each Chinese character is a word.
          longest_word: in characters; longer words are [UNK].
          length: the most tokens of a text, marks included; of two texts the longer one
            is cut first. None cuts nothing.

        Raises:
          ValueError: if a mark is not in the vocabulary, or a number too small.
        """
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

        if isinstance(vocabulary, str | os.PathLike):
            vocabulary = read_vocabulary(vocabulary)
        self._pieces = list(vocabulary)
        row_of = {piece: row for row, piece in enumerate(self._pieces)}
        lacking = [mark for mark in MARKS if mark not in row_of]
        if lacking:
            raise ValueError(f"vocabulary must hold {', '.join(MARKS)}: no {lacking}")
        if longest_word < 1 or (length is not None and length < 4):
            raise ValueError(
                "longest_word and length must be at least 1 and 4, got "
                f"{longest_word} and {length}"
            )
        self.vocabulary = len(self._pieces)
        self.padding, self.unknown, self.first, self.between, self.hidden = (
            row_of[mark] for mark in MARKS
        )
        made = Tokenizer(
            models.WordPiece(
                row_of,
                unk_token="[UNK]",
                max_input_chars_per_word=longest_word,
                continuing_subword_prefix="##",
            )
        )
        made.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=chinese_apart,
            strip_accents=strip_accents,
            lowercase=lowercase,
        )
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        made.add_special_tokens(list(MARKS))
        made.post_processor = self._around(row_of)
        if length is not None:
            made.enable_truncation(length, strategy="longest_first")
        self._tokenizer = made

    @staticmethod
    def _around(row_of):
        from tokenizers import processors

        return processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[(mark, row_of[mark]) for mark in ("[CLS]", "[SEP]")],
        )

    def encode(self, text: str, second: str | None = None) -> Tokenized:
        """Returns the tokens of a text, or of two that belong together.

        Raises:
          ValueError: if a text holds half of a surrogate pair, which is no character.
        """
        whole = text if second is None else (text, second)
        return self.encode_all([whole])[0]

    def encode_all(self, texts: Sequence[str | tuple[str, str]]) -> list[Tokenized]:
        """Returns what `encode` does for each, on all cores.

        Raises:
          ValueError: if a text holds half of a surrogate pair, which is no character.
        """
        for text in texts:
            for part in (text,) if isinstance(text, str) else text:
                try:
                    part.encode()
                except UnicodeEncodeError as error:
                    raise ValueError(f"text is no Unicode: {error}") from error
        return [
            Tokenized(
                np.array(found.ids, np.int32),
                np.array(found.type_ids, np.int32),
                np.array(found.offsets, np.int32).reshape(-1, 2),
                np.array(found.special_tokens_mask, bool),
            )
            for found in self._tokenizer.encode_batch(list(texts))
        ]

    def pieces(self, tokens: Sequence[int] | np.ndarray) -> list[str]:
        """Returns the entries of the vocabulary, ``##`` before those that go on."""
        return [self._pieces[int(token)] for token in tokens]

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all that determines the tokens of a text."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()


def padded_batches(
    texts: Sequence[Tokenized],
    *,
    batch: int,
    lengths: Sequence[int] = (16, 32, 64, 128, 256, 512),
    padding: int = 0,
) -> Iterator[PaddedBatch]:
    """Yields all texts in batches of few shapes, so that little is compiled.

    Args:
      texts: of any lengths; they come out ordered by length.
      batch: B, rows of each.
      lengths: T of a batch is the first of these in which its longest text has room.
      padding: the token behind the end of a text.

    Raises:
      ValueError: if a text is longer than all `lengths`, or `batch` is below 1.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    sizes, rooms = np.array([len(text.tokens) for text in texts], int), sorted(lengths)
    if len(sizes) and (not rooms or sizes.max() > rooms[-1]):
        raise ValueError(
            f"lengths must reach {sizes.max()}, the longest text, got {tuple(rooms)}"
        )
    order = np.argsort(sizes, kind="stable")
    for at in range(0, len(order), batch):
        rows = order[at : at + batch]
        room = next(size for size in rooms if size >= sizes[rows].max())
        tokens = np.full((batch, room), padding, np.int32)
        segments = np.zeros((batch, room), np.int32)
        kept = np.zeros((batch, room), bool)
        for row, text in enumerate(rows):
            end = sizes[text]
            tokens[row, :end] = texts[text].tokens
            segments[row, :end] = texts[text].segments
            kept[row, :end] = True
        yield PaddedBatch(rows, tokens, segments, kept)
