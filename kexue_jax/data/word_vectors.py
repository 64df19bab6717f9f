"""Vectors of words, and texts as rows of them."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch

TOKEN = re.compile(r"[a-z0-9']+")
FILES = {"vec_glove_twitter25d": "glove_twitter_25d_11925.txt.gz"}


class WordVectors(NamedTuple):
    """Rows ``[V, D]`` float32, and the row of each word."""

    row_of: dict[str, int]
    vectors: np.ndarray


def read_vectors(lines: Iterable[str]) -> WordVectors:
    """Returns what stands in a file of GloVe's form: a word and numbers in each line.

    A word that comes again is passed over.

    Raises:
      ValueError: if a line has other numbers than the first, or there is none.

    >>> read_vectors(["a 1 2", "b 3 4"]).vectors.tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    row_of: dict[str, int] = {}
    rows: list[np.ndarray] = []
    for number, line in enumerate(lines):
        word, _, rest = line.rstrip("\n").partition(" ")
        values = np.array(rest.split(), np.float32)
        if not len(values) or (rows and len(values) != len(rows[0])):
            size = len(rows[0]) if rows else "some"
            raise ValueError(
                f"line {number + 1} must be a word and {size} numbers, got {line!r:.80}"
            )
        if word not in row_of:
            row_of[word] = len(rows)
            rows.append(values)
    if not rows:
        raise ValueError("there is no vector in these lines")
    return WordVectors(row_of, np.stack(rows))


def word_vectors(
    name: str = "vec_glove_twitter25d", *, path: str | os.PathLike | None = None
) -> WordVectors:
    """Returns vectors of words, the most frequent first.

    Args:
      name: ``vec_glove_twitter25d``, 11,925 English words in 25 dimensions, the 13th
        far off centre.
      path: folder of the file, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if the file is neither here nor to be fetched.
    """
    if name not in FILES:
        raise ValueError(f"name must be one of {', '.join(FILES)}, got {name!r}")
    with fetch.open_text(name, FILES[name], path) as lines:
        return read_vectors(lines)


def english_tokens(text: str) -> list[str]:
    """Returns runs of letters, digits and apostrophes, in lower case."""
    return TOKEN.findall(text.lower())


def embedded(
    texts: Sequence[Sequence[str]], words: WordVectors
) -> tuple[np.ndarray, np.ndarray]:
    """Returns texts as padded rows of vectors; words without one are left out.

    Args:
      texts: words of each.
      words: their vectors.

    Returns:
      Vectors ``[N, M, D]`` float32, zeros behind the end of a text, and ones and zeros
      ``[N, M]`` float32 that say where there is a word; M is that of the longest text,
      at least 1.
    """
    known = [[words.row_of[w] for w in text if w in words.row_of] for text in texts]
    longest = max(1, *(len(rows) for rows in known)) if known else 1
    weight = np.zeros((len(known), longest), np.float32)
    vectors = np.zeros((len(known), longest, words.vectors.shape[1]), np.float32)
    for at, rows in enumerate(known):
        weight[at, : len(rows)] = 1.0
        vectors[at, : len(rows)] = words.vectors[rows]
    return vectors, weight
