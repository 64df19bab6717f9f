"""Pairs of texts that say the same or do not, as rows of characters."""

import csv
import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.order import Shuffled
from kexue_jax.data.sentence_pairs import ScoredPair, drawn_pairs
from kexue_jax.data.word_vectors import TOKENS, WordVectors, word_vectors

Batch = dict[str, np.ndarray]
SHARES = (0.7, 0.15, 0.15)
"""Of all pairs: to learn from, to choose by, and to test on."""


@dataclass(frozen=True)
class Matching:
    """Pairs to learn from, to choose by and to test on, and vectors of what they hold.

    Batches hold ``first`` and ``second`` ``[B, T]`` int32, rows of `vectors`, 0 behind
    the end of a text, and ``label`` ``[B]`` int32, 1 for texts that say the same; those
    of `valid` and `test` also ``weight`` ``[B]`` float32, 0 for rows that only fill up
    a batch.

    Attributes:
      vectors: ``[V, D]`` float32, row 0 zeros. Scaled so that means over the texts to
        learn from have the mean 0 and all their entries together the deviation 1.
      source: from the step to a batch.
      valid, test: batches.
    """

    vectors: np.ndarray
    source: Callable[[int], Batch]
    valid: Sequence[Batch]
    test: Sequence[Batch]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns digests of batch 0 and of what is held out."""
        found: dict[str, str | int] = {}
        parts = dict(train=[self.source(0)], valid=self.valid, test=self.test)
        for name, batches in parts.items():
            digest = hashlib.sha256()
            for batch in batches:
                for key in sorted(batch):
                    digest.update(np.ascontiguousarray(batch[key]).tobytes())
            found[f"{name}_sha256"] = digest.hexdigest()
        return found


class Form(NamedTuple):
    """How a file is written: what is between columns, how many lines head it, where."""

    file: str
    separator: str
    header: int
    first: int


SETS = {
    "lcqmc": Form("lcqmc_dev.tsv.gz", "\t", 0, 0),
    "bq": Form("bq_dev.csv.gz", ",", 1, 0),
    "atec": Form("atec_dev.csv.gz", "\t", 1, 0),
    "pawsx": Form("pawsx_zh_dev.tsv.gz", "\t", 1, 1),
}
UNTRANSLATED = "NS"  # stands for a sentence in 16 rows of PAWS-X


def read_matched(lines: Iterable[str], form: Form) -> list[ScoredPair]:
    r"""Returns pairs of texts with a label of 0 or 1.

    Raises:
      ValueError: if a row has other columns or another label.

    >>> read_matched(["7\tHow?\tIn what way?\t1"], Form("", "\t", 0, 1))
    [ScoredPair(first='How?', second='In what way?', score=1.0)]
    """
    quoting = csv.QUOTE_MINIMAL if form.separator == "," else csv.QUOTE_NONE
    found = []
    rows = csv.reader(lines, delimiter=form.separator, quoting=quoting)
    for number, row in enumerate(rows):
        if number < form.header:
            continue
        if len(row) != form.first + 3 or row[-1] not in ("0", "1"):
            raise ValueError(
                f"row {number + 1} must have {form.first + 3} columns, the last 0 or "
                f"1, got {row!r:.80}"
            )
        first, second, label = row[form.first :]
        if UNTRANSLATED not in (first, second):
            found.append(ScoredPair(first, second, float(label)))
    return found


def together(pairs: Sequence[ScoredPair]) -> np.ndarray:
    """Returns ``[P]``, equal numbers for pairs that are linked by shared texts.

    >>> links = [("a", "b"), ("c", "d"), ("b", "e")]
    >>> together([ScoredPair(*pair, 1.0) for pair in links]).tolist()
    [0, 1, 0]
    """
    root: dict[str, str] = {}

    def find(text: str) -> str:
        while root.setdefault(text, text) != text:
            root[text] = root[root[text]]
            text = root[text]
        return text

    for pair in pairs:
        root[find(pair.second)] = find(pair.first)
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(find(p.first), len(numbers)) for p in pairs])


def _parts(pairs, apart):
    """Places of the pairs of each part; the division is always the same."""
    groups = together(pairs) if apart == "texts" else np.arange(len(pairs))
    draws = np.random.Generator(np.random.Philox(0))
    rank = draws.permutation(groups.max() + 1)[groups]
    order = np.argsort(rank, kind="stable")
    ends = np.round(np.cumsum(SHARES)[:2] * len(pairs)).astype(int)
    # A group is of the part in which its first pair lies.
    begin = np.searchsorted(rank[order], rank[order], side="left")
    return [order[np.searchsorted(ends, begin, side="right") == n] for n in range(3)]


def _rows(texts, words: WordVectors, cut, length) -> np.ndarray:
    """Rows of the table that begins with zeros, ``[N, T]``; T is at most `length`."""
    known = [
        [words.row_of[token] + 1 for token in cut(text) if token in words.row_of]
        for text in texts
    ]
    longest = max(1, min(length, max(len(rows) for rows in known)))
    found = np.zeros((len(known), longest), np.int32)
    for row, tokens in zip(found, known, strict=True):
        row[: len(tokens[:longest])] = tokens[:longest]
    return found


def _scaled(vectors, rows) -> np.ndarray:
    """The table behind a row of zeros, scaled by the means of texts ``[N, T]``."""
    table = np.concatenate([np.zeros((1, vectors.shape[1])), vectors])
    used = rows[(rows > 0).any(axis=1)]
    kept = used > 0
    means = np.zeros((len(used), table.shape[1]))
    for place in range(used.shape[1]):
        means += table[used[:, place]]
    means /= kept.sum(axis=1, keepdims=True)
    table = (table - means.mean(axis=0)) / (means - means.mean(axis=0)).std()
    table[0] = 0.0
    return table.astype(np.float32)


def matching(
    name: str,
    *,
    apart: str = "pairs",
    batch: int = 64,
    length: int = 64,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Matching:
    """Returns pairs of Chinese texts, divided at random, always in the same way.

    Of the published sets the development part alone is here, and it is what is divided:
    results are not those of the published test parts.

    Args:
      name: ``lcqmc`` (8,802 pairs of questions, half of them alike), ``bq`` (10,000 to
        a bank, half), ``atec`` (10,000 to a bank, a third), ``pawsx`` (1,984 of almost
        the same words, 43 in 100 alike), or ``drawn``, which needs no file.
      apart: what no two parts share: ``pairs``, or ``texts`` and what they are linked
        with through other pairs. Of ``bq`` nearly every text stands in several pairs,
        so that with ``pairs`` hardly any text of a test is new.
      batch: pairs a step.
      length: characters of a text, at least 1; what is beyond is cut off. Characters
        without a vector are left out before.
      seed: of the order of training.
      path: folder of all files; None looks for each in the usual places.

    Raises:
      ValueError: for another name or way to divide, or a number below 1.
      DataNotFoundError: if a file is neither here nor to be fetched.

    Source: Liu et al. 2018 (LCQMC), Chen et al. 2018 (BQ), Yang et al. 2019 (PAWS-X),
      and the ATEC contest of 2018.
    """
    if name != "drawn" and name not in SETS:
        raise ValueError(
            f"name must be one of {', '.join(SETS)} or drawn, got {name!r}"
        )
    if apart not in ("pairs", "texts"):
        raise ValueError(f"apart must be 'pairs' or 'texts', got {apart!r}")
    if length < 1 or batch < 1:
        raise ValueError(f"length and batch must be at least 1, got {length}, {batch}")
    if name == "drawn":
        scored, words = drawn_pairs(200)
        pairs = [pair._replace(score=float(pair.score > 1.0)) for pair in scored]
        cut: Callable[[str], list[str]] = str.split
    else:
        with fetch.open_text("text_match_zh", SETS[name].file, path) as lines:
            pairs = read_matched(lines, SETS[name])
        words = word_vectors("vec_tencent_char", path=path)
        cut = TOKENS["vec_tencent_char"]
    both = [pair.first for pair in pairs] + [pair.second for pair in pairs]
    first, second = np.split(_rows(both, words, cut, length), 2)
    label = np.array([pair.score for pair in pairs], np.int32)
    train, *held_out = _parts(pairs, apart)
    order = Shuffled(len(train), batch, seed)

    def rows(index: np.ndarray) -> Batch:
        return {"first": first[index], "second": second[index], "label": label[index]}

    def batches(index: np.ndarray) -> list[Batch]:
        filled = np.pad(index, (0, -len(index) % batch))
        weight = (np.arange(len(filled)) < len(index)).astype(np.float32)
        return [
            rows(filled[at : at + batch]) | {"weight": weight[at : at + batch]}
            for at in range(0, len(filled), batch)
        ]

    learned = np.concatenate([first[train], second[train]])
    return Matching(
        _scaled(words.vectors, learned),
        lambda step: rows(train[order.indices(step)]),
        *(batches(index) for index in held_out),
    )
