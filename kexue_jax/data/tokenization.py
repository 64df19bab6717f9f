"""Text to numbers and back without loss: bytes, or merges of bytes."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np


class ByteTokenizer:
    """One token for each byte of UTF-8."""

    vocabulary = 256

    def encode(self, text: str) -> np.ndarray:
        """Returns ``[T]`` int32."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Returns the text; bytes that are not UTF-8 become replacement characters."""
        return bytes(int(token) for token in tokens).decode(errors="replace")

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all that determines the tokens of a text."""
        return hashlib.sha256(b"bytes").hexdigest()


class BytePairTokenizer:
    """Byte-pair encoding of UTF-8, its merges learned from a text.

    Words, numbers, runs of punctuation and runs of white space are merged apart, and a
    word is the same tokens at the beginning of a line as inside it. Every byte is a
    token, so any text that UTF-8 can write is encoded without loss.
    """

    def __init__(self, text: str, *, vocabulary: int):
        """Learns merges, the same on every machine.

        Args:
          text: where pairs are counted; give the training text alone.
          vocabulary: V, at least 256; fewer where `text` has too few pairs.
        """
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        if vocabulary < 256:
            raise ValueError(f"256 tokens are bytes, got vocabulary={vocabulary}")
        self._tokenizer = Tokenizer(models.BPE())
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        self._tokenizer.train_from_iterator([_spaced(text)], trainer)
        self.vocabulary = self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> np.ndarray:
        """Returns ``[T]`` int32."""
        # No token reaches from a word into an empty line, so the pieces between can be
        # encoded side by side.
        pieces = re.split(r"(?<=\S)(?=\n\n)", _spaced(text))
        found = self._tokenizer.encode_batch_fast(pieces)
        return np.concatenate([np.array(piece.ids, np.int32) for piece in found])

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Returns the text; bytes that are not UTF-8 become replacement characters."""
        spaced = self._tokenizer.decode([int(token) for token in tokens])
        return spaced.replace("\n ", "\n")

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all that determines the tokens of a text."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()


def _spaced(text: str) -> str:
    """Puts a space behind each line break that a character other than one follows."""
    return re.sub(r"\n(?=[^\n])", "\n ", text)


def byte_tokens(text: str) -> ByteTokenizer:
    """Returns a `ByteTokenizer`, which learns nothing from `text`, for configs."""
    del text
    return ByteTokenizer()
