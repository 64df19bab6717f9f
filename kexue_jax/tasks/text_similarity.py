"""Task: which distance of sentences agrees with people; nothing is trained."""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.directions import directions
from kexue_jax.exhibits import Bars, Curves, Series, Table
from kexue_jax.metrics.correlation import pearson, spearman
from kexue_jax.metrics.costs import cosine_costs, euclidean_costs
from kexue_jax.metrics.transport import optimal_transport
from kexue_jax.metrics.word_movers import (
    relaxed_bound,
    rotators_centroid_bound,
    rotators_weights,
    word_centroid_bound,
)
from kexue_jax.tasks.analysis import Analysis, Measured


class Pairs(Protocol):
    """Pairs of sentences as padded rows of vectors, and how near people find them."""

    @property
    def first(self) -> np.ndarray: ...
    @property
    def first_weight(self) -> np.ndarray: ...
    @property
    def second(self) -> np.ndarray: ...
    @property
    def second_weight(self) -> np.ndarray: ...
    @property
    def score(self) -> np.ndarray: ...
    def fingerprint(self) -> dict[str, str | int]: ...


MEASURES = {
    "mean_cosine": "cosine of the mean vectors",
    "wcd": "distance of the mean vectors (WCD)",
    "rwmd": "each word to the nearest (RWMD)",
    "wmd": "word mover's distance (WMD)",
    "cosine_cost": "cosines as costs, words alike",
    "wrd": "word rotator's distance (WRD)",
}


@jax.jit
def distances(x, y, x_weight, y_weight) -> dict[str, jax.Array]:
    """Returns every distance ``[B]``, what bounds it, and the gaps of transport."""
    p, q = (w / jnp.maximum(w.sum(1, keepdims=True), 1.0) for w in (x_weight, y_weight))
    means = [directions(jnp.einsum("bm,bmd->bd", w, a)) for a, w in ((x, p), (y, q))]
    far, turned = euclidean_costs(x, y), cosine_costs(x, y)
    heavy = rotators_weights(x, x_weight), rotators_weights(y, y_weight)
    moved = optimal_transport(far, p, q)
    even = optimal_transport(turned, p, q)
    rotated = optimal_transport(turned, *heavy)
    return {
        "mean_cosine": 1.0 - jnp.sum(means[0] * means[1], axis=1),
        "wcd": word_centroid_bound(x, y, x_weight, y_weight),
        "rwmd": relaxed_bound(far, p, q),
        "wmd": moved.cost,
        "cosine_cost": even.cost,
        "wrd": rotated.cost,
        "wrd_bound": rotators_centroid_bound(x, y, x_weight, y_weight),
        "wrd_relaxed": relaxed_bound(turned, *heavy),
        "gap": jnp.maximum(jnp.abs(moved.gap), jnp.abs(rotated.gap)),
    }


class TextSimilarity(Analysis):
    """Correlates distances of sentences with the scores of people.

    Vectors are taken as they are (group ``raw``) and less their mean over all words
    (``centred``). Scores: ``<group>/<measure>_pearson`` and ``_spearman``, 100 times
    the correlation of minus the distance with the score; ``bounds/broken``, the share
    of pairs in which one of four bounds exceeds its distance by more than rounding;
    ``transport/gap``, the greatest that the proof of a plan leaves open.

    Args:
      pairs: sentences that have at least one word each.
      batch: pairs at once.
    """

    def __init__(self, *, pairs: Pairs, batch: int = 500):
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        for name in ("first_weight", "second_weight"):
            empty = np.flatnonzero(~getattr(pairs, name).any(axis=1))
            if len(empty):
                raise ValueError(f"pair {empty[0]} has no word with a vector: {name}")
        self._pairs, self.batch_size = pairs, batch

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the pairs are."""
        return super().fingerprint() | self._pairs.fingerprint()

    def _centred(self):
        """Both sides less the mean vector of all words; padding stays 0."""
        pairs = self._pairs
        sides = (
            (pairs.first, pairs.first_weight),
            (pairs.second, pairs.second_weight),
        )
        total = sum(np.einsum("bm,bmd->d", w, x, dtype=np.float64) for x, w in sides)
        mean = total / sum(w.sum(dtype=np.float64) for _, w in sides)
        return [((x - mean) * w[:, :, None]).astype(np.float32) for x, w in sides]

    def _all(self, x, y):
        """Every distance of all pairs, ``[P]``."""
        weights, size = (self._pairs.first_weight, self._pairs.second_weight), len(x)
        parts = []
        for at in range(0, size, self.batch_size):
            rows = np.minimum(np.arange(at, at + self.batch_size), size - 1)
            found = distances(x[rows], y[rows], weights[0][rows], weights[1][rows])
            parts.append({k: np.asarray(v)[: size - at] for k, v in found.items()})
        return {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}

    def measure(self, rng: jax.Array) -> Measured:
        """Returns correlations, bounds and three diagrams; nothing is random."""
        del rng
        gold = jnp.asarray(self._pairs.score, jnp.float32)
        scores: dict[str, float] = {}
        table, bars, broken, gap = [], [], 0.0, 0.0
        groups = {
            "raw": (self._pairs.first, self._pairs.second),
            "centred": self._centred(),
        }
        for group, (x, y) in groups.items():
            found = self._all(x, y)
            row = []
            for name in MEASURES:
                near = jnp.asarray(-found[name], jnp.float32)
                for kind, correlation in (("pearson", pearson), ("spearman", spearman)):
                    scores[f"{group}/{name}_{kind}"] = 100 * float(
                        correlation(near, gold)
                    )
                row.append(scores[f"{group}/{name}_spearman"])
                table.append(
                    [
                        MEASURES[name],
                        group,
                        *(
                            round(scores[f"{group}/{name}_{kind}"], 1)
                            for kind in ("pearson", "spearman")
                        ),
                    ]
                )
            bars.append(row)
            over = [
                found[bound] > found[whole] * (1 + 1e-5) + 1e-6
                for bound, whole in (
                    ("wcd", "wmd"),
                    ("rwmd", "wmd"),
                    ("wrd_bound", "wrd"),
                    ("wrd_relaxed", "wrd"),
                )
            ]
            broken = max(broken, float(np.mean(np.any(over, axis=0))))
            gap = max(gap, float(found["gap"].max()))
            if group == "raw":
                raw = found
        scores |= {"bounds/broken": broken, "transport/gap": gap}
        order = np.argsort(raw["wmd"])
        points = order[np.linspace(0, len(order) - 1, min(200, len(order))).astype(int)]
        against = Curves(
            "Bounds beside the word mover's distance",
            [
                Series(name, raw["wmd"][points], raw[name][points])
                for name in ("wmd", "rwmd", "wcd")
            ],
            "word mover's distance",
            "distance or bound",
        )
        return Measured(
            scores,
            [
                Table(
                    "Correlation with the scores of people, times 100",
                    ("distance", "vectors", "Pearson", "Spearman"),
                    table,
                ),
                Bars(
                    "Rank correlation, times 100",
                    [MEASURES[name] for name in MEASURES],
                    list(groups),
                    np.array(bars).T,
                    "Spearman",
                ),
                against,
            ],
        )
