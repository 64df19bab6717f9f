"""Pairs of sentences with a score of how near they are in meaning, as word vectors."""

import csv
import hashlib
import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.word_vectors import TOKENS, WordVectors, embedded, word_vectors


class ScoredPair(NamedTuple):
    """Two sentences, and what people say of how near they are."""

    first: str
    second: str
    score: float


@dataclass(frozen=True)
class EmbeddedPairs:
    """Pairs of sentences as rows of word vectors, padded with zeros.

    Attributes:
      first, second: ``[P, M, D]`` and ``[P, N, D]`` float32.
      first_weight, second_weight: ``[P, M]`` and ``[P, N]`` float32, 1 for a word.
      score: ``[P]`` float64, higher for sentences nearer in meaning.
    """

    first: np.ndarray
    first_weight: np.ndarray
    second: np.ndarray
    second_weight: np.ndarray
    score: np.ndarray

    def fingerprint(self) -> dict[str, str | int]:
        """Returns how many pairs there are and a digest of all."""
        digest = hashlib.sha256()
        for name in sorted(vars(self)):
            digest.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return {"pairs": len(self.score), "pairs_sha256": digest.hexdigest()}


def read_sts(lines: Iterable[str]) -> list[ScoredPair]:
    """Returns what stands in a file of the STS benchmark: two sentences and a score.

    Raises:
      ValueError: if a row has other columns.

    >>> read_sts(['"A cat, here.",A cat.,4.5'])
    [ScoredPair(first='A cat, here.', second='A cat.', score=4.5)]
    """
    found = []
    for number, row in enumerate(csv.reader(lines)):
        if len(row) != 3:
            raise ValueError(f"row {number + 1} must have 3 columns, got {row!r:.80}")
        found.append(ScoredPair(row[0], row[1], float(row[2])))
    return found


def read_sick(lines: Iterable[str]) -> list[ScoredPair]:
    """Returns what stands in a file of SICK: a header, and tabs between the columns.

    Raises:
      ValueError: for another header.
    """
    rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
    wanted = ("sentence_A", "sentence_B", "relatedness_score")
    if rows.fieldnames is None or not set(wanted) <= set(rows.fieldnames):
        raise ValueError(f"the header must name {wanted}, got {rows.fieldnames}")
    return [
        ScoredPair(row[wanted[0]], row[wanted[1]], float(row[wanted[2]]))
        for row in rows
    ]


def read_cnsd(lines: Iterable[str]) -> list[ScoredPair]:
    """Returns what stands in a file of CNSD: ``id||sentence||sentence||score``.

    Raises:
      ValueError: if a row has other columns.

    >>> read_cnsd(["7||A cat, here.||A cat.||4"])
    [ScoredPair(first='A cat, here.', second='A cat.', score=4.0)]
    """
    found = []
    for number, line in enumerate(lines):
        row = line.rstrip("\r\n").split("||")
        if len(row) != 4:
            raise ValueError(f"row {number + 1} must have 4 columns, got {row!r:.80}")
        found.append(ScoredPair(row[1], row[2], float(row[3])))
    return found


SETS = {
    "stsb_test": ("stsb_en_zh_mt", "stsb-en-test.csv.gz", read_sts),
    "stsb_dev": ("stsb_en_zh_mt", "stsb-en-dev.csv.gz", read_sts),
    "sick_train": ("sick_en", "SICK_train.txt.gz", read_sick),
    "stsb_zh_test": ("stsb_zh", "cnsd-sts-test.txt.gz", read_cnsd),
    "stsb_zh_dev": ("stsb_zh", "cnsd-sts-dev.txt.gz", read_cnsd),
    "stsb_mt_test": ("stsb_en_zh_mt", "stsb-zh-test.csv.gz", read_sts),
}


def drawn_pairs(
    count: int = 60, *, seed: int = 0
) -> tuple[list[ScoredPair], WordVectors]:
    """Returns sentences of invented words, scored by what they share, and the vectors.

    For runs without any file: words of one topic have vectors near each other.
    """
    draws, normal = random.Random(seed), np.random.default_rng(seed)
    words = [f"w{topic}{number}" for topic in range(5) for number in range(8)]
    centres = np.repeat(normal.normal(size=(5, 12)), 8, axis=0)
    vectors = (centres + 0.5 * normal.normal(size=(40, 12))).astype(np.float32)
    pairs = []
    for _ in range(count):
        first = draws.sample(words, draws.randint(3, 8))
        kept = draws.sample(first, draws.randint(0, len(first)))
        second = kept + draws.sample(words, draws.randint(1, 5))
        score = 5.0 * len(set(first) & set(second)) / len(set(first) | set(second))
        pairs.append(ScoredPair(" ".join(first), " ".join(second), score))
    return pairs, WordVectors({word: at for at, word in enumerate(words)}, vectors)


def scored_pairs(
    name: str, *, path: str | os.PathLike | None = None
) -> list[ScoredPair]:
    """Returns sentences in pairs, with the mean score of several people.

    Args:
      name: ``stsb_test`` or ``stsb_dev`` of the STS benchmark, scores from 0 to 5;
        ``sick_train`` of SICK, 1 to 5; ``stsb_zh_test`` or ``stsb_zh_dev``, nine in ten
        of the benchmark's pairs in Chinese, scores rounded to integers;
        ``stsb_mt_test``, another translation, all pairs of ``stsb_test`` in its order;
        or ``drawn``, those of `drawn_pairs`, for which no file is needed.
      path: folder of the file, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if the file is neither here nor to be fetched.

    Source: Cer et al., https://arxiv.org/abs/1708.00055; Marelli et al. (LREC 2014);
      the translations of https://github.com/pluto-junzeng/CNSD and
      https://github.com/PhilipMay/stsb-multi-mt.
    """
    if name == "drawn":
        return drawn_pairs()[0]
    if name not in SETS:
        raise ValueError(
            f"name must be one of {', '.join(SETS)} or drawn, got {name!r}"
        )
    home, file, read = SETS[name]
    with fetch.open_text(home, file, path) as lines:
        return read(lines)


def embedded_pairs(
    name: str,
    *,
    vectors: str = "vec_glove_twitter25d",
    path: str | os.PathLike | None = None,
) -> EmbeddedPairs:
    """Returns pairs of sentences as word vectors; words without one are left out.

    Args:
      name: as in `scored_pairs`.
      vectors: as in `kexue_jax.data.word_vectors.word_vectors`, in the language of the
        pairs. ``drawn`` has vectors of its own.
      path: folder of both files; None looks for each in the usual places.

    Raises:
      ValueError: for another name.
      DataNotFoundError: if a file is neither here nor to be fetched.
    """
    tokens = TOKENS.get(vectors)
    if tokens is None:
        raise ValueError(f"vectors must be one of {', '.join(TOKENS)}, got {vectors!r}")
    if name == "drawn":
        pairs, words = drawn_pairs()
        tokens = str.split
    else:
        pairs, words = scored_pairs(name, path=path), word_vectors(vectors, path=path)
    sides = [embedded([tokens(pair[side]) for pair in pairs], words) for side in (0, 1)]
    score = np.array([pair.score for pair in pairs])
    return EmbeddedPairs(*sides[0], *sides[1], score)
