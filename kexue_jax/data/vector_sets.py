"""Vectors to search among and others to search for."""

import hashlib
import os
from dataclasses import dataclass

import numpy as np

from kexue_jax.data.pixels import pixels
from kexue_jax.data.word_vectors import word_vectors

# The side of the squares of pixels whose means count, and how many pictures there are.
PICTURES = {"mnist": (2, 60_000), "digits": (1, 1437)}


@dataclass(frozen=True)
class VectorSet:
    """Rows of floats, with the mean of the corpus taken off both.

    Attributes:
      corpus: ``[C, m]`` float32.
      queries: ``[Q, m]`` float32, none of them in the corpus.
    """

    corpus: np.ndarray
    queries: np.ndarray

    def fingerprint(self) -> dict[str, str | int]:
        """Returns how many rows there are and a digest of all."""
        digest = hashlib.sha256(np.ascontiguousarray(self.corpus).tobytes())
        digest.update(np.ascontiguousarray(self.queries).tobytes())
        return {
            "corpus": len(self.corpus),
            "queries": len(self.queries),
            "vectors_sha256": digest.hexdigest(),
        }


def vector_set(
    name: str,
    *,
    corpus: int,
    queries: int,
    path: str | os.PathLike | None = None,
) -> VectorSet:
    """Returns vectors of a real set, the same at each call.

    Args:
      name: ``mnist``, means of squares of four pixels, 196 dimensions, queries from the
        pictures held out; ``digits``, those of scikit-learn, 64 dimensions, likewise;
        or ``vec_glove_twitter25d``, word vectors of 25 dimensions, queries at even
        steps of the vocabulary.
      corpus: C, how many there are to find at most.
      queries: Q.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or if there are not as many.
      DataNotFoundError: if a file is neither here nor to be fetched.
      ModuleNotFoundError: without scikit-learn (``digits``).
    """
    known = (*PICTURES, "vec_glove_twitter25d")
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}, got {name!r}")
    if corpus < 1 or queries < 1:
        raise ValueError(
            f"corpus and queries must be positive, got {corpus} and {queries}"
        )
    if name in PICTURES:
        block, count = PICTURES[name]
        found = pixels(name, block=block, batch=corpus, held_out=queries, path=path)
        rows = found.source(0)["inputs"].astype(np.float32) / np.float32(255)
        asked = found.held_out[0]["inputs"].astype(np.float32) / np.float32(255)
    else:
        every = word_vectors(name, path=path).vectors
        at, count = np.arange(queries) * len(every) // queries, len(every) - queries
        asked, rows = every[at], np.delete(every, at, axis=0)[:corpus]
    if corpus > count or queries > len(asked):
        raise ValueError(
            f"{name} has {count} vectors to find with {queries} queries, got {corpus}"
        )
    mean = rows.mean(axis=0, keepdims=True, dtype=np.float64).astype(np.float32)
    return VectorSet(rows - mean, asked[:queries] - mean)
