"""Nearest neighbours by hashes: candidates first, then exact distances of these."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics
from kexue_jax.algorithms.hashing import hamming_distances, packed, sign_hashes
from kexue_jax.algorithms.random_projection import Projection

EXACT = jax.lax.Precision.HIGHEST
GROUP = 32  # queries whose exact distances are taken at once
Kind = Literal["cosine", "euclidean"]


class Neighbours(NamedTuple):
    """What is nearest to each query.

    Attributes:
      index: ``[Q, k]`` int32, by increasing distance; -1 where there are fewer.
      distance: ``[Q, k]`` float32; inf where there are fewer.
      examined: ``[Q]`` int32, how many exact distances were taken.
    """

    index: jax.Array | np.ndarray
    distance: jax.Array | np.ndarray
    examined: jax.Array | np.ndarray


def exact_neighbours(
    queries: jax.Array, vectors: jax.Array, *, k: int, kind: Kind = "cosine"
) -> Neighbours:
    """Finds the nearest of all vectors, by all distances.

    Args:
      queries: ``[Q, m]``.
      vectors: ``[C, m]``.
      k: at least 1.
      kind: ``"cosine"`` for one less the cosine, 1 where a vector is zero, or
        ``"euclidean"``.

    Returns:
      The `Neighbours`; of equal distances the first come first.

    Raises:
      ValueError: if the shapes disagree or an argument is out of its range.

    Numerics: float32. Euclidean distances are roots of sums of squared differences;
      one less the cosine errs by roundings of 1, and may be that much below 0.
    """
    _check(queries, vectors, k, kind)
    every = jnp.arange(len(vectors), dtype=jnp.int32)

    def search(query):
        return _ranked(query, vectors, every, k, kind)

    index, distance = jax.lax.map(search, queries, batch_size=GROUP)
    examined = jnp.full(len(queries), len(vectors), jnp.int32)
    return Neighbours(index, distance, examined)


class SignIndex(NamedTuple):
    """Vectors and the signs of their projections.

    Attributes:
      projection: that of the signs.
      codes: ``[C, W]`` uint32, packed.
      vectors: ``[C, m]``.
    """

    projection: Projection
    codes: jax.Array
    vectors: jax.Array


def sign_index(projection: Projection, vectors: jax.Array) -> SignIndex:
    """Hashes vectors by the signs of a projection.

    Args:
      projection: from m to n, as of `gaussian_projection`; n is the number of bits.
      vectors: ``[C, m]``.

    Returns:
      The `SignIndex`, of 4 ceil(n / 32) bytes a vector beside the vectors.

    Raises:
      ValueError: if the shapes disagree.
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must be [C, m], got {vectors.shape}")
    return SignIndex(projection, packed(sign_hashes(projection, vectors)), vectors)


def search_signs(
    index: SignIndex, queries: jax.Array, *, k: int, candidates: int
) -> Neighbours:
    """Finds near vectors by cosine, of those whose signs agree in most places.

    Args:
      index: of `sign_index`.
      queries: ``[Q, m]``.
      k: at least 1.
      candidates: how many vectors of the least Hamming distance have their cosine
        taken, at least k; of equal distances the first.

    Returns:
      The `Neighbours`, of distances one less the cosine.

    Raises:
      ValueError: if the shapes disagree or a number is out of its range.

    Numerics: shapes are static, so it compiles; ``[Q, C]`` int32 are held at once.

    Source: https://kexue.fm/archives/8706
    """
    vectors = index.vectors
    _check(queries, vectors, k, "cosine")
    if candidates < k:
        raise ValueError(f"candidates must be at least k = {k}, got {candidates}")
    candidates = min(candidates, len(vectors))
    codes = packed(sign_hashes(index.projection, queries))
    apart = hamming_distances(codes, index.codes)
    # As floats, exact up to 2^24 bits: on CPUs XLA would sort all of the integers.
    _, near = jax.lax.top_k(-apart.astype(jnp.float32), candidates)

    def rank(at):
        query, places = at
        places = jnp.sort(places)
        return _ranked(query, vectors[places], places, k, "cosine")

    found, distance = jax.lax.map(rank, (queries, near), batch_size=GROUP)
    examined = jnp.full(len(queries), candidates, jnp.int32)
    return Neighbours(found, distance, examined)


class BucketIndex(NamedTuple):
    """Tables of vectors in the order of their hashes.

    Attributes:
      keys: ``[L, C]`` uint64, ascending, each of K hashes.
      order: ``[L, C]`` int64, the vector of each key.
      mixing: ``[L, K]`` uint64, odd, what makes a key of K hashes.
    """

    keys: np.ndarray
    order: np.ndarray
    mixing: np.ndarray


def bucket_index(
    codes: np.ndarray, *, tables: int, hashes: int, seed: int = 0
) -> BucketIndex:
    """Sorts vectors into buckets of equal hashes, in several tables.

    Vectors that share one hash with probability p share a bucket of K hashes with
    :math:`p^K`, and one of L buckets with :math:`1 - (1 - p^K)^L`.

    Args:
      codes: ``[C, L K]`` int, of `e2_codes` or `cross_polytope_codes`.
      tables: L, positive.
      hashes: K, positive.
      seed: of the keys.

    Returns:
      The `BucketIndex`, NumPy arrays of the host.

    Raises:
      ValueError: if the shape disagrees or a number is not positive.

    Numerics: a key is a sum of hashes times random odd numbers modulo 2^64. Where two
      buckets share one, which is rare, there are more candidates, never fewer.
    """
    for name, number in (("tables", tables), ("hashes", hashes)):
        if number < 1:
            raise ValueError(f"{name} must be positive, got {number}")
    draws = np.random.default_rng(seed)
    mixing = draws.integers(0, 2**64, (tables, hashes), np.uint64) | np.uint64(1)
    keys = _keys(codes, mixing)
    order = np.argsort(keys, axis=1, kind="stable")
    return BucketIndex(np.take_along_axis(keys, order, axis=1), order, mixing)


def bucket_candidates(index: BucketIndex, codes: np.ndarray) -> list[np.ndarray]:
    """Returns the vectors that share a bucket with each query.

    Args:
      index: of `bucket_index`.
      codes: ``[Q, L K]`` int, of the queries by the same hashes.

    Returns:
      Q arrays of int64, ascending, none twice; an empty one where no bucket is shared.

    Raises:
      ValueError: if the shape disagrees.
    """
    keys = _keys(codes, index.mixing)
    ends = [
        [np.searchsorted(own, asked, side) for side in ("left", "right")]
        for own, asked in zip(index.keys, keys, strict=True)
    ]
    found = []
    for query in range(keys.shape[1]):
        parts = [
            order[low[query] : high[query]]
            for order, (low, high) in zip(index.order, ends, strict=True)
        ]
        found.append(np.unique(np.concatenate(parts)))
    return found


def reranked(
    candidates: list[np.ndarray],
    queries: np.ndarray,
    vectors: np.ndarray,
    *,
    k: int,
    kind: Kind = "cosine",
) -> Neighbours:
    """Returns the nearest of the candidates of each query, by exact distances.

    Args:
      candidates: Q arrays of rows of `vectors`, ascending, as of `bucket_candidates`.
      queries: ``[Q, m]``.
      vectors: ``[C, m]``, an array of any kind that gives rows by number.
      k: at least 1.
      kind: as of `exact_neighbours`.

    Returns:
      The `Neighbours`, NumPy arrays of the host.

    Raises:
      ValueError: if the shapes disagree or an argument is out of its range.
    """
    _check(queries, vectors, k, kind)
    if len(candidates) != len(queries):
        raise ValueError(
            f"candidates must be of {len(queries)} queries, got {len(candidates)}"
        )
    found = Neighbours(
        np.full((len(queries), k), -1, np.int32),
        np.full((len(queries), k), np.inf, np.float32),
        np.array([len(rows) for rows in candidates], np.int32),
    )
    for at, rows in enumerate(candidates):
        query = np.asarray(queries[at], np.float32)
        own = np.asarray(vectors[rows], np.float32).reshape(len(rows), len(query))
        if kind == "euclidean":
            distance = np.sqrt(np.sum(np.square(own - query), axis=1))
        else:
            size = np.linalg.norm(own, axis=1) * np.linalg.norm(query)
            distance = 1.0 - own @ query / np.where(size > 0.0, size, 1.0)
        best = np.argsort(distance, kind="stable")[:k]
        found.index[at, : len(best)] = rows[best]
        found.distance[at, : len(best)] = distance[best]
    return found


def recall(found: jax.Array | np.ndarray, wanted: jax.Array | np.ndarray) -> float:
    """Returns the share of the wanted neighbours that were found, over all queries.

    Args:
      found: ``[Q, K]`` int, rows in any order; -1 is nobody.
      wanted: ``[Q, k]`` int, likewise, as of `exact_neighbours`.

    Returns:
      From 0 to 1; 1 if nothing was wanted.

    Raises:
      ValueError: if the numbers of queries differ.
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.ndim != 2 or wanted.ndim != 2 or len(found) != len(wanted):
        raise ValueError(
            f"found and wanted must be [Q, K] and [Q, k], got {found.shape} and "
            f"{wanted.shape}"
        )
    real = wanted >= 0
    hit = (wanted[:, :, None] == found[:, None, :]).any(axis=2) & real
    return float(hit.sum() / real.sum()) if real.any() else 1.0


def _ranked(query, vectors, places, k, kind):
    """The k nearest of ``[C, m]``, of rows `places`: ``[k]`` rows and distances."""
    query, vectors = numerics.widened(query), numerics.widened(vectors)
    if kind == "euclidean":
        square = jnp.sum(jnp.square(vectors - query[None]), axis=-1)
        some = square > 0.0
        distance = jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)
    else:
        inner = jnp.matmul(vectors, query, precision=EXACT)
        size = jnp.linalg.norm(vectors, axis=-1) * jnp.linalg.norm(query)
        distance = 1.0 - inner / jnp.where(size > 0.0, size, 1.0)
    least, best = jax.lax.top_k(-distance, min(k, len(vectors)))
    missing = (0, k - len(best))
    index = jnp.pad(places[best], missing, constant_values=-1)
    return index, jnp.pad(-least, missing, constant_values=jnp.inf)


def _keys(codes, mixing):
    tables, hashes = mixing.shape
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != tables * hashes:
        raise ValueError(f"codes must be [..., {tables * hashes}], got {codes.shape}")
    parts = codes.reshape(len(codes), tables, hashes).astype(np.int64).view(np.uint64)
    return np.sum(parts * mixing, axis=2, dtype=np.uint64).T


def _check(queries, vectors, k, kind):
    if kind not in ("cosine", "euclidean"):
        raise ValueError(f"kind must be cosine or euclidean, got {kind!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if (
        len(queries.shape) != 2
        or len(vectors.shape) != 2
        or queries.shape[1] != vectors.shape[1]
    ):
        raise ValueError(
            "queries and vectors must be [Q, m] and [C, m], got "
            f"{queries.shape} and {vectors.shape}"
        )
