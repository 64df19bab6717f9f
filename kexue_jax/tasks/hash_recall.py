"""Task: what searches by hashes and by projections find; nothing is trained."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.hash_search import (
    bucket_candidates,
    bucket_index,
    exact_neighbours,
    recall,
    reranked,
    search_signs,
    sign_index,
)
from kexue_jax.algorithms.hashing import (
    cosine_of_codes,
    cross_polytope_codes,
    cross_polytopes,
    e2_codes,
    e2_collision_probability,
    e2_hashes,
    sign_collision_probability,
    sign_hashes,
)
from kexue_jax.algorithms.random_projection import gaussian_projection, project
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured

ROWS = 256  # of the corpus, hashed at once


class Vectors(Protocol):
    """What is searched, ``[C, m]``, and what for, ``[Q, m]``."""

    corpus: np.ndarray
    queries: np.ndarray

    def fingerprint(self) -> dict[str, str | int]: ...


class Buckets(NamedTuple):
    """A family of hashes in tables of buckets: K of each, by tables from 1 to L."""

    recall: np.ndarray
    share: np.ndarray
    expected: np.ndarray | None

    def share_at(self, level: float) -> float:
        """Returns the share at a recall, by lines between points and to (1, 1)."""
        shares = np.concatenate([[0.0], self.share, [1.0]])
        return float(np.interp(level, np.concatenate([[0], self.recall, [1]]), shares))


class HashRecall(Analysis):
    r"""Recall of the k nearest by signs, projections and buckets, and their theory.

    Scores, neighbours being exact ones by cosine unless said otherwise:

    - ``signs/recall_<n>``: by n signs of a Gaussian projection, `candidates` vectors of
      the least Hamming distance having their cosines taken; ``projected/recall_<n>``:
      likewise by cosines of the projection itself;
    - ``shortlist/recall_<c>``: by `code` signs, with c candidates;
    - ``<family>/recall_<L>``, ``<family>/share_<L>``: by L tables of buckets, the last
      being the share of the corpus that is examined, of ``sign_buckets``,
      ``polytope_buckets`` (cross-polytopes) and ``step_buckets`` (steps along lines,
      for Euclidean neighbours); ``<family>/expected_<L>``: the mean over neighbours of
      :math:`1 - (1 - p^K)^L`, p the probability of the theory; not of polytopes;
      ``<family>/share_at_60``, the share at which the curve has a recall of 0.6;
    - ``theory/signs_error``, ``theory/steps_error``: over `pairs` of a query and a
      vector, from its nearest to its farthest, the greatest difference in standard
      errors of the share of `hashes` that is equal and its probability;
      ``theory/wrong_error``: that of signs from :math:`(1 + \cos\theta) / 2`;
    - ``theory/cosine_bias``: the greatest difference over these pairs of the cosine
      from that of codes, and ``theory/cosine_error`` from `cosine_of_codes`.

    Args:
      vectors: what is searched.
      k: neighbours that are wanted.
      bits: n.
      candidates: how many have their exact cosine taken, at least k.
      code: bits of the short lists.
      shortlists: c, at least k.
      tables: L, ascending.
      sign_count, polytope_count, step_count: K of each family.
      width: of a step, relative to the median distance of the k-th neighbour.
      pairs: at most the number of queries.
      hashes: of the theory.
    """

    def __init__(
        self,
        *,
        vectors: Vectors,
        k: int = 10,
        bits: Sequence[int] = (16, 32, 64, 128, 256, 512, 1024),
        candidates: int = 30,
        code: int = 128,
        shortlists: Sequence[int] = (10, 30, 100, 300, 1000),
        tables: Sequence[int] = (1, 2, 4, 8, 16, 32),
        sign_count: int = 12,
        polytope_count: int = 2,
        step_count: int = 6,
        width: float = 2.0,
        pairs: int = 16,
        hashes: int = 4096,
    ):
        count, size = vectors.corpus.shape
        least = min(k, code, pairs, *bits, *tables, sign_count, polytope_count, hashes)
        if least < 1 or step_count < 1 or not width > 0.0:
            raise ValueError("k, width and all numbers of hashes must be positive")
        if not k <= min(candidates, *shortlists) or k > count:
            raise ValueError(
                f"candidates and shortlists must be at least k and k at most {count}, "
                f"got {candidates}, {tuple(shortlists)} and {k}"
            )
        if pairs > len(vectors.queries):
            raise ValueError(
                f"pairs must be at most the {len(vectors.queries)} queries, got {pairs}"
            )
        self._vectors, self._dimension = vectors, size
        self.k, self.bits, self.candidates = k, tuple(bits), candidates
        self.code, self.shortlists, self.tables = code, tuple(shortlists), tuple(tables)
        self.sign_count, self.polytope_count = sign_count, polytope_count
        self.step_count, self.width = step_count, width
        self.pairs, self.hashes = pairs, hashes

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the settings and what the vectors are."""
        return super().fingerprint() | self._vectors.fingerprint()

    def _signs(self, rng, size):
        projection = gaussian_projection(
            rng, input_size=self._dimension, output_size=size
        )
        return projection, jax.jit(partial(sign_hashes, projection))

    def _by_signs(self, rng, bits, candidates):
        """Neighbours by the Hamming distance of codes, reranked."""

        @jax.jit
        def search(vectors, queries):
            index = sign_index(self._signs(rng, bits)[0], vectors)
            return search_signs(index, queries, k=self.k, candidates=candidates)

        return search(self._vectors.corpus, self._vectors.queries).index

    def _by_projection(self, rng, size):
        """Neighbours by the cosine of projections, reranked."""

        @jax.jit
        def search(vectors, queries):
            projection = self._signs(rng, size)[0]
            low = (project(projection, x) for x in (queries, vectors))
            return exact_neighbours(*low, k=min(self.candidates, len(vectors))).index

        found = np.asarray(search(self._vectors.corpus, self._vectors.queries))
        rows = list(np.sort(found, axis=1))
        corpus, queries = self._vectors.corpus, self._vectors.queries
        return reranked(rows, queries, corpus, k=self.k).index

    def _buckets(self, hashed, hashes, wanted, probability):
        """What tables of buckets find, all of them made at once.

        Args:
          hashed: ``[N, m] -> [N, L K]``.
          hashes: K.
          wanted: neighbours ``[Q, k]``.
          probability: of an equal hash ``[Q, k]``, or None.
        """
        x = jnp.concatenate([self._vectors.corpus, self._vectors.queries])
        codes = jax.jit(partial(jax.lax.map, hashed, batch_size=ROWS))(x)
        own, asked = np.split(np.asarray(codes), [len(self._vectors.corpus)])
        found: dict[str, list[float]] = {"recall": [], "share": [], "expected": []}
        for tables in self.tables:
            part = tables * hashes
            index = bucket_index(own[:, :part], tables=tables, hashes=hashes)
            rows = bucket_candidates(index, asked[:, :part])
            hits = [np.isin(w, r).mean() for w, r in zip(wanted, rows, strict=True)]
            found["recall"].append(float(np.mean(hits)))
            found["share"].append(float(np.mean([len(r) for r in rows]) / len(own)))
            if probability is not None:
                missed = (1.0 - probability**hashes) ** tables
                found["expected"].append(float(1.0 - missed.mean()))
        expected = None if probability is None else np.array(found["expected"])
        return Buckets(np.array(found["recall"]), np.array(found["share"]), expected)

    def _all_buckets(self, rng, by_cosine, by_distance):
        """What each family finds, by name."""
        keys, most = jax.random.split(rng, 3), max(self.tables)
        size = self._dimension
        width = self.width * float(np.median(by_distance.distance[:, -1]))
        _, signs = self._signs(keys[0], most * self.sign_count)
        polytopes = cross_polytopes(
            keys[1], input_size=size, output_size=most * self.polytope_count
        )
        steps = e2_hashes(
            keys[2], input_size=size, output_size=most * self.step_count, width=width
        )
        shared = sign_collision_probability(1.0 - by_cosine.distance)
        stepped = e2_collision_probability(by_distance.distance, width=width)
        near, close = (np.asarray(x.index) for x in (by_cosine, by_distance))
        return {
            "sign_buckets": self._buckets(
                signs, self.sign_count, near, np.asarray(shared, np.float64)
            ),
            "polytope_buckets": self._buckets(
                partial(cross_polytope_codes, polytopes),
                self.polytope_count,
                near,
                None,
            ),
            "step_buckets": self._buckets(
                partial(e2_codes, steps),
                self.step_count,
                close,
                np.asarray(stepped, np.float64),
            ),
        }

    def _theory(self, rng):
        """Shares of equal hashes of pairs near and far, and what they should be."""
        corpus, asked = self._vectors.corpus, self._vectors.queries[: self.pairs]
        every = jnp.asarray(asked), jnp.asarray(corpus)
        order = np.asarray(exact_neighbours(*every, k=len(corpus)).index)
        ranks = np.geomspace(1, len(corpus), self.pairs).round().astype(int) - 1
        other = corpus[order[np.arange(self.pairs), ranks]]
        norms = np.linalg.norm(asked, axis=1) * np.linalg.norm(other, axis=1)
        cosine = np.sum(asked * other, axis=1) / np.where(norms > 0, norms, 1.0)
        distance = np.linalg.norm(asked - other, axis=1)
        width = self.width * float(np.median(distance))
        for_signs, for_steps = jax.random.split(rng)
        _, signs = self._signs(for_signs, self.hashes)
        steps = e2_hashes(
            for_steps,
            input_size=self._dimension,
            output_size=self.hashes,
            width=width,
        )
        equal = np.asarray(signs(asked) == signs(other)).mean(axis=1)
        along = jax.jit(partial(e2_codes, steps))
        stepped = np.asarray(along(asked) == along(other)).mean(axis=1)

        def off(share, chance):
            chance = np.asarray(chance, np.float64)
            error = np.sqrt(np.maximum(chance * (1.0 - chance), 1e-9) / self.hashes)
            return float(np.max(np.abs(share - chance) / error))

        back = np.asarray(cosine_of_codes(jnp.asarray(2.0 * equal - 1.0)))
        scores = {
            "signs_error": off(equal, sign_collision_probability(jnp.asarray(cosine))),
            "steps_error": off(
                stepped, e2_collision_probability(jnp.asarray(distance), width=width)
            ),
            "wrong_error": off(equal, 0.5 * (1.0 + cosine)),
            "cosine_bias": float(np.max(np.abs(2.0 * equal - 1.0 - cosine))),
            "cosine_error": float(np.max(np.abs(back - cosine))),
        }
        angle = np.arccos(np.clip(cosine, -1.0, 1.0))
        line = np.linspace(0.0, math.pi, 50)
        curve = Curves(
            "Share of equal signs, by the angle of the pair",
            [
                Series("measured", angle, equal),
                Series("1 - angle / pi", line, 1.0 - line / math.pi),
                Series("(1 + cosine) / 2", line, 0.5 * (1.0 + np.cos(line))),
            ],
            "radians",
            "share",
            points=True,
        )
        return scores, curve

    def measure(self, rng: jax.Array) -> Measured:
        """Returns recalls and errors, curves and a table."""
        keys = jax.random.split(rng, 5)
        both = (jnp.asarray(x) for x in (self._vectors.queries, self._vectors.corpus))
        find = partial(exact_neighbours, *both, k=self.k)
        near, close = (
            jax.tree.map(np.asarray, find(kind=kind))
            for kind in ("cosine", "euclidean")
        )
        scores: dict[str, float] = {}
        for i, size in enumerate(self.bits):
            by_signs, by_projection = (jax.random.fold_in(k, i) for k in keys[:2])
            found = self._by_signs(by_signs, size, self.candidates)
            scores[f"signs/recall_{size}"] = recall(found, near.index)
            found = self._by_projection(by_projection, size)
            scores[f"projected/recall_{size}"] = recall(found, near.index)
        for c in self.shortlists:
            found = self._by_signs(keys[2], self.code, c)
            scores[f"shortlist/recall_{c}"] = recall(found, near.index)
        families = self._all_buckets(keys[3], near, close)
        for name, found in families.items():
            scores[f"{name}/share_at_60"] = found.share_at(0.6)
            for i, tables in enumerate(self.tables):
                scores[f"{name}/recall_{tables}"] = float(found.recall[i])
                scores[f"{name}/share_{tables}"] = float(found.share[i])
                if found.expected is not None:
                    scores[f"{name}/expected_{tables}"] = float(found.expected[i])
        theory, curve = self._theory(keys[4])
        scores |= {f"theory/{name}": value for name, value in theory.items()}
        return Measured(scores, [*self._shown(scores, families), curve])

    def _shown(self, scores, families):
        count = len(self._vectors.corpus)
        lines = {"signs": "signs", "projected": "the projection itself"}
        bits, lists = np.array(self.bits), np.array(self.shortlists)
        listed = np.array([scores[f"shortlist/recall_{c}"] for c in lists])
        examined = [Series(f"{self.code} signs", lists / count, listed)]
        examined += [
            Series(name.replace("_", " "), found.share, found.recall)
            for name, found in families.items()
        ]
        shares = np.geomspace(self.k / count, 1.0, 30)
        rows = [
            (name.replace("_", " "), tables, *(round(float(v), 4) for v in values))
            for name, found in families.items()
            for tables, *values in zip(
                self.tables, found.share, found.recall, strict=True
            )
        ]
        return [
            Curves(
                f"Recall of {self.k} with {self.candidates} cosines of {count}",
                [
                    Series(
                        label,
                        bits,
                        np.array([scores[f"{name}/recall_{n}"] for n in bits]),
                    )
                    for name, label in lines.items()
                ],
                f"dimensions after the projection, of {self._dimension}",
                "recall",
                log_x=True,
            ),
            Curves(
                f"Recall of {self.k} by what is examined",
                [*examined, Series("by chance", shares, shares)],
                "share of the corpus",
                "recall",
                log_x=True,
            ),
            Table("Buckets", ("hashes", "tables", "share examined", "recall"), rows),
        ]
