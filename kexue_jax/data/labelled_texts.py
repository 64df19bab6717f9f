"""Short texts of several classes, as word vectors and as counts of words."""

import hashlib
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.word_vectors import (
    WordVectors,
    embedded,
    english_tokens,
    word_vectors,
)

Labelled = list[tuple[list[str], str]]


@dataclass(frozen=True)
class EmbeddedTexts:
    """Texts of several classes, each of them once.

    Attributes:
      vectors: ``[N, M, D]`` float32, padded with zeros.
      weight: ``[N, M]`` float32, 1 for a word that has a vector.
      words: ``[N, L]`` int32, numbers of all words, with a vector or not, from 0 on;
        -1 behind the end.
      label: ``[N]`` int32.
    """

    vectors: np.ndarray
    weight: np.ndarray
    words: np.ndarray
    label: np.ndarray

    def fingerprint(self) -> dict[str, str | int]:
        """Returns how many texts there are and a digest of all."""
        digest = hashlib.sha256()
        for name in sorted(vars(self)):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return {"texts": len(self.label), "texts_sha256": digest.hexdigest()}


def read_tweets(lines: Iterable[str]) -> Labelled:
    r"""Returns what stands in a file of tweets: a class in quotes, a tab and the words.

    Raises:
      ValueError: if a line is not of this form.

    >>> read_tweets(['"positive"\t good  phone\n'])
    [(['good', 'phone'], 'positive')]
    """
    found = []
    for number, line in enumerate(lines):
        label, tab, text = line.rstrip("\n").partition("\t")
        if not tab or label[:1] != '"' or label[-1:] != '"':
            raise ValueError(
                f"line {number + 1} must be a class in quotes, a tab and words, got "
                f"{line!r:.80}"
            )
        found.append((english_tokens(text), label[1:-1]))
    return found


def drawn_texts(count: int = 90, *, seed: int = 0) -> tuple[Labelled, WordVectors]:
    """Returns texts of invented words about three topics, and the vectors of words.

    For runs without any file: words of one topic have vectors near each other.
    """
    draws, normal = random.Random(seed), np.random.default_rng(seed)
    centres = 2.0 * normal.normal(size=(3, 1, 8))
    vectors = (centres + normal.normal(size=(3, 30, 8))).reshape(90, 8)
    texts = []
    for _ in range(count):
        topic = draws.randrange(3)
        rows = [30 * topic + draws.randrange(30) for _ in range(draws.randint(2, 6))]
        texts.append(([f"w{row}" for row in rows], f"topic {topic}"))
    row_of = {f"w{row}": row for row in range(90)}
    return texts, WordVectors(row_of, vectors.astype(np.float32))


def embedded_texts(
    name: str = "wmd_twitter",
    *,
    vectors: str = "vec_glove_twitter25d",
    path: str | os.PathLike | None = None,
) -> EmbeddedTexts:
    """Returns texts as word vectors; of those with the same words the first is kept.

    Texts of which no word has a vector are left out.

    Args:
      name: ``wmd_twitter``, 3,115 tweets about companies that are negative, neutral or
        positive, of which 2,832 remain; or ``drawn`` for `drawn_texts`.
      vectors: as in `kexue_jax.data.word_vectors.word_vectors`.
      path: folder of both files; None looks for each in the usual places.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if a file is neither here nor to be fetched.

    Source: the tweets of Kusner et al. (2015), of N. Sanders.
    """
    if name == "drawn":
        texts, words = drawn_texts()
    elif name == "wmd_twitter":
        with fetch.open_text(name, "all_twitter_by_line.txt.gz", path) as lines:
            texts = read_tweets(lines)
        words = word_vectors(vectors, path=path)
    else:
        raise ValueError(f"name must be wmd_twitter or drawn, got {name!r}")
    once: dict[tuple[str, ...], str] = {}
    for text, label in texts:
        if any(word in words.row_of for word in text):
            once.setdefault(tuple(text), label)
    rows, weight = embedded([list(text) for text in once], words)
    numbers: dict[str, int] = {}
    counted = np.full((len(once), max(map(len, once))), -1, np.int32)
    for at, text in enumerate(once):
        for place, word in enumerate(text):
            counted[at, place] = numbers.setdefault(word, len(numbers))
    classes = sorted(set(once.values()))
    label = np.array([classes.index(c) for c in once.values()], np.int32)
    return EmbeddedTexts(rows, weight, counted, label)
