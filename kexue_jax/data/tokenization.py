"""Text to numbers and back without loss: bytes, or merges of bytes."""

import hashlib
import itertools
import json
import random
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
        return np.array(self._tokenizer.encode(_spaced(text)).ids, np.int32)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """Returns the text; bytes that are not UTF-8 become replacement characters."""
        spaced = self._tokenizer.decode([int(token) for token in tokens])
        return spaced.replace("\n ", "\n")

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all that determines the tokens of a text."""
        return hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()

    def spellings(
        self, text: str, *, rate: float, count: int, seed: int
    ) -> tuple[np.ndarray, list[list[np.ndarray]]]:
        """Draws several ways to write each word of a text in tokens (BPE-dropout).

        Args:
          text: what to write.
          rate: probability, in ``[0, 1]``, with which a merge is passed over each time
            it could be made; 0 gives the tokens of `encode`.
          count: ways for each different word, at least 1: first that of `encode`, then
            others that are drawn.
          seed: not negative; the ways are a function of it and of the words.

        Returns:
          The words of the text as ``[W]`` int32, places in the list that follows, and
          for each different word `count` arrays of int32, which all decode to it.

        Source: Provilkov et al., https://arxiv.org/abs/1910.13267
        """
        model = json.loads(self._tokenizer.to_str())["model"]
        ids = model["vocab"]
        ranks = {tuple(pair): rank for rank, pair in enumerate(model["merges"])}
        split = self._tokenizer.pre_tokenizer.pre_tokenize_str(_spaced(text))
        places: dict[str, int] = {}
        row = [places.setdefault(word, len(places)) for word, _ in split]
        chance = random.Random(seed)
        ways = [
            [
                np.array(
                    [
                        ids[part]
                        for part in _merged(word, ranks, rate if n else 0.0, chance)
                    ]
                ).astype(np.int32)
                for n in range(count)
            ]
            for word in places
        ]
        return np.array(row, np.int32), ways


def _spaced(text: str) -> str:
    """Puts a space behind each line break that a character other than one follows."""
    return re.sub(r"\n(?=[^\n])", "\n ", text)


def _merged(word, ranks, rate, chance) -> list[str]:
    """Merges the parts of a word by rank, passing over some merges by chance."""
    parts = list(word)
    while len(parts) > 1:
        best = min(
            (
                (ranks[pair], place)
                for place, pair in enumerate(itertools.pairwise(parts))
                if pair in ranks and (rate == 0.0 or chance.random() >= rate)
            ),
            default=None,
        )
        if best is None:
            break
        place = best[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def byte_tokens(text: str) -> ByteTokenizer:
    """Returns a `ByteTokenizer`, which learns nothing from `text`, for configs."""
    del text
    return ByteTokenizer()
