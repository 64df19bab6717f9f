"""Task: the classes of texts by their nearest neighbours; nothing is trained."""

from typing import Protocol

import jax
import numpy as np

from kexue_jax.exhibits import Bars, Table
from kexue_jax.metrics.text_search import nearest_texts
from kexue_jax.tasks.analysis import Analysis, Measured


class Texts(Protocol):
    """Texts as padded rows of vectors and of numbers of words, with their classes."""

    @property
    def vectors(self) -> np.ndarray: ...
    @property
    def weight(self) -> np.ndarray: ...
    @property
    def words(self) -> np.ndarray: ...
    @property
    def label(self) -> np.ndarray: ...
    def fingerprint(self) -> dict[str, str | int]: ...


def histograms(words: np.ndarray, size: int) -> np.ndarray:
    """Returns shares of words ``[N, size]`` float32 for numbers ``[N, L]``, -1 none."""
    counts = np.zeros((len(words), size + 1), np.float32)
    np.add.at(counts, (np.arange(len(words))[:, None], words), 1.0)
    counts = counts[:, :size]  # what is -1 was counted in the last column
    return counts / np.maximum(counts.sum(1, keepdims=True), 1.0)


def nearest_histograms(
    queries: np.ndarray, others: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the k nearest by the sum of absolute differences, and these, ``[Q, k]``.

    Rows are shares of sum 1, so that only words of the query are looked at.
    """
    index, distance = [], []
    columns = np.ascontiguousarray(others.T)
    for row in queries:
        own = np.flatnonzero(row)
        shared = np.minimum(columns[own], row[own, None]).sum(axis=0)
        order = np.argsort(-shared, kind="stable")[:k]
        index.append(order)
        distance.append(2.0 - 2.0 * shared[order])
    return np.array(index), np.array(distance)


def voted(label: np.ndarray, index: np.ndarray, classes: int) -> np.ndarray:
    """Returns the class of most neighbours ``[Q]``, of equals that of the nearest."""
    votes = np.zeros((len(index), classes))
    for place in range(index.shape[1]):
        # Less for those further away, though never more than half of a vote in all.
        weight = 1.0 - 0.5 * place / (index.shape[1] ** 2)
        votes[np.arange(len(index)), label[index[:, place]]] += weight
    return votes.argmax(axis=1)


class TextNeighbours(Analysis):
    """Classifies texts by those nearest by WMD, WRD and by shares of words.

    Texts are divided anew for each key. Scores: ``<distance>/error``, the share that
    is classified wrong, of ``wmd``, ``wrd``, ``bow`` (sum of absolute differences of
    shares of words) and ``tfidf`` (the same, of shares weighted by the rarity of
    words); ``<distance>/solved`` of the first two, the share of problems of transport
    that were solved; ``most_frequent/error``, what is wrong without looking.

    Args:
      texts: of several classes, each once.
      queries: how many are classified.
      k: neighbours that vote.
      centred: whether the mean vector of all words is taken off.
    """

    def __init__(
        self, *, texts: Texts, queries: int = 300, k: int = 7, centred: bool = True
    ):
        if not 0 < queries < len(texts.label) - k or k < 1:
            raise ValueError(
                f"queries and k must be positive and leave k of the {len(texts.label)} "
                f"texts, got {queries} and {k}"
            )
        self._texts, self.queries, self.k, self.centred = texts, queries, k, centred

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the texts are."""
        return super().fingerprint() | self._texts.fingerprint()

    def _vectors(self) -> np.ndarray:
        texts = self._texts
        if not self.centred:
            return texts.vectors
        total = np.einsum("nm,nmd->d", texts.weight, texts.vectors, dtype=np.float64)
        mean = (total / texts.weight.sum(dtype=np.float64)).astype(np.float32)
        return (texts.vectors - mean) * texts.weight[:, :, None]

    def measure(self, rng: jax.Array) -> Measured:
        """Returns errors and shares, a table and bars; the division is random."""
        texts, classes = self._texts, int(self._texts.label.max()) + 1
        order = np.asarray(jax.random.permutation(rng, len(texts.label)))
        asked, known = order[: self.queries], order[self.queries :]
        scores: dict[str, float] = {}
        vectors, label = self._vectors(), texts.label[known]

        def error(index):
            return float(np.mean(voted(label, index, classes) != texts.label[asked]))

        for name, kind in (("wmd", "movers"), ("wrd", "rotators")):
            found = nearest_texts(
                vectors[asked],
                texts.weight[asked],
                vectors[known],
                texts.weight[known],
                k=self.k,
                kind=kind,
            )
            scores[f"{name}/error"] = error(found.index)
            scores[f"{name}/solved"] = float(found.solved.mean() / len(known))
        size = int(texts.words.max()) + 1
        shares = histograms(texts.words, size)
        seen = (shares[known] > 0).sum(axis=0)
        rare = np.log(len(known) / np.maximum(seen, 1)).astype(np.float32) * (seen > 0)
        heavy = shares * rare
        heavy /= np.maximum(heavy.sum(1, keepdims=True), 1e-9)
        for name, rows in (("bow", shares), ("tfidf", heavy)):
            index, _ = nearest_histograms(rows[asked], rows[known], self.k)
            scores[f"{name}/error"] = error(index)
        often = np.bincount(label).argmax()
        scores["most_frequent/error"] = float(np.mean(texts.label[asked] != often))
        rows = [
            (
                name,
                round(100 * scores[f"{name}/error"], 1),
                round(100 * scores[f"{name}/solved"], 1)
                if f"{name}/solved" in scores
                else "",
            )
            for name in ("wmd", "wrd", "bow", "tfidf", "most_frequent")
        ]
        return Measured(
            scores,
            [
                Table(
                    f"{self.queries} texts by {self.k} of {len(known)} neighbours",
                    ("distance", "wrong, %", "problems solved, %"),
                    rows,
                ),
                Bars(
                    "Texts classified wrong",
                    [row[0] for row in rows],
                    ["wrong"],
                    np.array([[float(row[1])] for row in rows]),
                    "%",
                ),
            ],
        )
