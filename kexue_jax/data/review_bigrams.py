"""Reviews as bags of pairs of characters, most of which are rare."""

import collections
import os
from collections.abc import Iterable, Sequence

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.labelled import Labelled
from kexue_jax.data.parts import Part, parted
from kexue_jax.data.reviews import drawn_reviews, read_reviews


def bigrams(text: str) -> list[str]:
    """Returns the pairs of neighbouring characters, in order.

    >>> bigrams("good")
    ['go', 'oo', 'od']
    """
    return [text[i : i + 2] for i in range(len(text) - 1)]


def frequent(texts: Iterable[str], size: int) -> dict[str, int]:
    """Numbers the bigrams that most texts have, from 1 on, at most `size` of them.

    Those in as many texts are in the order of their characters.
    """
    counts = collections.Counter(pair for text in texts for pair in set(bigrams(text)))
    ordered = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return {pair: n for n, pair in enumerate(ordered[:size], 1)}


def bag_rows(texts: Sequence[str], known: dict[str, int], *, length: int) -> np.ndarray:
    """Returns the numbers of the first known bigrams, ``[N, length]``; 0 fills up."""
    rows = np.zeros((len(texts), length), np.int32)
    for row, text in zip(rows, texts, strict=True):
        numbers = [known[pair] for pair in bigrams(text) if pair in known][:length]
        row[: len(numbers)] = numbers
    return rows


def review_bigrams(
    name: str = "chnsenticorp",
    *,
    vocabulary: int = 20_000,
    length: int = 128,
    batch: int = 32,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Labelled:
    """Returns reviews, good or bad, as rows of numbers of bigrams of characters.

    Of ChnSentiCorp, texts that come twice are one, with the label of the first, and
    what is held out is not learned from: see `kexue_jax.data.reviews.reviews`.

    Args:
      name: ``chnsenticorp``, or ``drawn`` for 400 and 100 that need no file.
      vocabulary: how many bigrams are known, at most: those that most texts to learn
        from have. They are numbered from 1 on; 0 fills rows up.
      length: places of a row; a text's first known bigrams.
      batch, seed: as in `kexue_jax.data.parts.parted`.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or if `vocabulary` or `length` is below 1.
    """
    if vocabulary < 1 or length < 1:
        raise ValueError(
            f"vocabulary and length must be at least 1, got {vocabulary}, {length}"
        )
    if name == "drawn":
        found = [drawn_reviews(count, seed=n) for n, count in enumerate((400, 100))]
    elif name == "chnsenticorp":
        found = []
        for file in ("train.tsv.gz", "dev.tsv.gz"):
            with fetch.open_text(name, file, path) as lines:
                found.append(read_reviews(lines))
    else:
        raise ValueError(f"name must be 'chnsenticorp' or 'drawn', got {name!r}")
    apart: dict[str, int] = {}
    for review in found[1]:
        apart.setdefault(review.text, review.label)
    train: dict[str, int] = {}
    for review in found[0]:
        if name == "drawn" or review.text not in apart:
            train.setdefault(review.text, review.label)
    known = frequent(train, vocabulary)

    def part(texts):
        label = np.array([*texts.values()], np.int32)
        return Part(bag_rows([*texts], known, length=length), label)

    return parted(part(train), part(apart), batch=batch, seed=seed)
