"""Vectors of words, and texts as rows of them."""

import io
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch

TOKEN = re.compile(r"[a-z0-9']+")


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


def character_vectors(vocabulary: str, table: np.ndarray) -> WordVectors:
    r"""Returns a table of which each row belongs to one line of a vocabulary.

    Rows that were drawn, for characters that the original table lacks, are left out:
    all their entries lie in [0, 1).

    Args:
      vocabulary: a character in each line.
      table: ``[V, D]``.

    Raises:
      ValueError: if there are other numbers of lines and rows.

    >>> character_vectors("a\nb\n", np.array([[0.5, 0.5], [-1.0, 2.0]])).row_of
    {'b': 0}
    """
    names = vocabulary.removesuffix("\n").split("\n")
    if table.ndim != 2 or len(names) != len(table):
        raise ValueError(
            f"the table must be [{len(names)}, D], a row for each line of the "
            f"vocabulary, got {table.shape}"
        )
    real = np.flatnonzero(~np.all((table >= 0.0) & (table < 1.0), axis=1))
    row_of = {names[row]: at for at, row in enumerate(real)}
    return WordVectors(row_of, table[real].astype(np.float32))


def english_tokens(text: str) -> list[str]:
    """Returns runs of letters, digits and apostrophes, in lower case."""
    return TOKEN.findall(text.lower())


def characters(text: str) -> list[str]:
    """Returns all characters but blanks, in lower case."""
    return [character for character in text.lower() if not character.isspace()]


TOKENS: dict[str, Callable[[str], list[str]]] = {
    "vec_glove_twitter25d": english_tokens,
    "vec_tencent_char": characters,
}
"""How a text is cut into what each table of vectors holds."""


def word_vectors(
    name: str = "vec_glove_twitter25d", *, path: str | os.PathLike | None = None
) -> WordVectors:
    """Returns vectors of words or characters, the most frequent first.

    Args:
      name: ``vec_glove_twitter25d``, 11,925 English words in 25 dimensions, the 13th
        far off centre, or ``vec_tencent_char``, 4,729 characters of Chinese in 200.
      path: folder of the file, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if the file is neither here nor to be fetched.
    """
    if name == "vec_glove_twitter25d":
        with fetch.open_text(name, "glove_twitter_25d_11925.txt.gz", path) as lines:
            return read_vectors(lines)
    if name == "vec_tencent_char":
        vocabulary = fetch.read_bytes(name, "vocab.txt", path).decode()
        packed = io.BytesIO(fetch.read_bytes(name, "embedding_Tencent.npz", path))
        with np.load(packed, allow_pickle=False) as table:
            return character_vectors(vocabulary, table["embeddings"])
    raise ValueError(f"name must be one of {', '.join(TOKENS)}, got {name!r}")


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
