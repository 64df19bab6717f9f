import math
from functools import partial

import jax
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from kexue_jax.algorithms import hash_search, hashing, random_projection
from kexue_jax.algorithms.hash_search import (
    bucket_candidates,
    bucket_index,
    recall,
    reranked,
)

SIZES = ("input_size", "output_size")
exact_neighbours = jax.jit(hash_search.exact_neighbours, static_argnames=("k", "kind"))
search_signs = jax.jit(hash_search.search_signs, static_argnames=("k", "candidates"))
sign_index = jax.jit(hash_search.sign_index)
cross_polytopes = jax.jit(hashing.cross_polytopes, static_argnames=SIZES)
cross_polytope_codes = jax.jit(hashing.cross_polytope_codes)
e2_hashes = jax.jit(hashing.e2_hashes, static_argnames=(*SIZES, "width"))
e2_codes = jax.jit(hashing.e2_codes)
gaussian_projection, structured_projection = (
    jax.jit(f, static_argnames=SIZES)
    for f in (
        random_projection.gaussian_projection,
        random_projection.structured_projection,
    )
)


def clustered(count, queries, m=24, clusters=40, seed=0):
    """Vectors around centres, and others around the same."""
    draws = np.random.default_rng(seed)
    centres = 2.0 * draws.normal(size=(clusters, m))
    made = centres[draws.integers(0, clusters, count + queries)]
    made = (made + draws.normal(size=made.shape)).astype(np.float32)
    return made[:count], made[count:]


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_exact_neighbours_are_those_of_scipys_distances(kind):
    vectors, queries = clustered(100, 6)
    found = exact_neighbours(queries, vectors, k=5, kind=kind)
    want = cdist(queries, vectors, kind)
    np.testing.assert_array_equal(found.index, np.argsort(want, axis=1)[:, :5])
    np.testing.assert_allclose(
        found.distance, np.sort(want, axis=1)[:, :5], rtol=1e-4, atol=1e-6
    )
    assert found.examined.tolist() == [100] * 6
    rows = [np.arange(100)] * 6
    again = reranked(rows, queries, vectors, k=5, kind=kind)
    np.testing.assert_array_equal(again.index, found.index)
    np.testing.assert_allclose(again.distance, found.distance, rtol=1e-4, atol=1e-6)


def test_a_search_by_signs_finds_most_neighbours_and_more_with_more_bits():
    vectors, queries = clustered(1000, 40)

    @partial(jax.jit, static_argnames=("make", "bits", "candidates"))
    def search(make, bits, candidates):
        down = make(jax.random.key(0), input_size=24, output_size=bits)
        index = sign_index(down, vectors)
        return search_signs(index, queries, k=10, candidates=candidates)

    wanted = exact_neighbours(queries, vectors, k=10)
    few, many, structured = (
        search(make, bits, 30)
        for make, bits in (
            (gaussian_projection, 8),
            (gaussian_projection, 256),
            (structured_projection, 256),
        )
    )
    assert recall(few.index, wanted.index) < 0.8
    assert recall(many.index, wanted.index) > 0.95
    assert recall(structured.index, wanted.index) > 0.95
    assert many.examined.tolist() == [30] * 40
    all_of = search(gaussian_projection, 8, 1000)
    np.testing.assert_array_equal(all_of.index, wanted.index)
    np.testing.assert_allclose(all_of.distance, wanted.distance, atol=1e-6)


def buckets(vectors, queries, hashes, apply, tables, each):
    codes = np.asarray(apply(hashes, np.concatenate([vectors, queries])))
    codes, asked = codes[: len(vectors)], codes[len(vectors) :]
    index = bucket_index(codes, tables=tables, hashes=each)
    return codes, asked, bucket_candidates(index, asked)


@pytest.mark.parametrize("kind", ["steps", "polytopes"])
def test_candidates_are_the_vectors_that_share_a_whole_bucket(kind):
    vectors, queries = clustered(300, 8)
    tables, each = 6, 2
    if kind == "steps":
        hashes, apply = (
            e2_hashes(jax.random.key(0), input_size=24, output_size=12, width=12.0),
            e2_codes,
        )
    else:
        hashes, apply = (
            cross_polytopes(jax.random.key(0), input_size=24, output_size=12),
            cross_polytope_codes,
        )
    codes, asked, found = buckets(vectors, queries, hashes, apply, tables, each)
    parts = [a.reshape(len(a), tables, each) for a in (codes, asked)]
    same = (parts[1][:, None] == parts[0][None]).all(axis=3).any(axis=2)
    assert 0 < same.sum() < same.size // 2
    for rows, row in zip(found, same, strict=True):
        np.testing.assert_array_equal(rows, np.flatnonzero(row))


def test_steps_find_near_neighbours_as_often_as_their_probability_says():
    draws = np.random.default_rng(0)
    count, tables, each, width = 50, 4, 3, 4.0
    vectors = 10.0 * draws.normal(size=(count, 24))
    way = draws.normal(size=vectors.shape)
    way /= np.linalg.norm(way, axis=1, keepdims=True)
    both = np.stack([vectors, vectors + 2.0 * way]).astype(np.float32)

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def codes_of(key, x):
        size = tables * each
        return e2_codes(e2_hashes(key, input_size=24, output_size=size, width=width), x)

    shares = []
    for codes, asked in np.asarray(
        codes_of(jax.random.split(jax.random.key(2), 200), both)
    ):
        index = bucket_index(codes, tables=tables, hashes=each)
        rows = bucket_candidates(index, asked)
        found = reranked(rows, both[1], both[0], k=1, kind="euclidean")
        shares.append(recall(found.index, np.arange(count)[:, None]))
        own = found.index[:, 0] == np.arange(count)
        np.testing.assert_allclose(found.distance[own], 2.0, rtol=1e-4)
        assert (found.distance[~own] > 10.0).all()  # a bucket of strangers, or none
    share = jax.jit(partial(hashing.e2_collision_probability, width=width))
    p = float(share(2.0))
    chance = 1.0 - (1.0 - p**each) ** tables
    assert abs(np.mean(shares) - chance) < 5.0 * np.std(shares) / math.sqrt(200)


def test_polytopes_find_most_neighbours_by_few_distances():
    vectors, queries = clustered(1000, 40)
    vectors, queries = (
        x / np.linalg.norm(x, axis=1, keepdims=True) for x in (vectors, queries)
    )
    hashes = cross_polytopes(jax.random.key(1), input_size=24, output_size=20)
    *_, rows = buckets(vectors, queries, hashes, cross_polytope_codes, 20, 1)
    found = reranked(rows, queries, vectors, k=5)
    wanted = exact_neighbours(queries, vectors, k=5)
    assert recall(found.index, wanted.index) > 0.97
    assert np.mean(found.examined) < 400


def test_zeros_duplicates_one_dimension_and_too_few():
    vectors = np.float32([[2.0], [0.0], [2.0], [-1.0]])
    queries = np.float32([[1.0], [0.0]])
    down = gaussian_projection(jax.random.key(0), input_size=1, output_size=3)
    found = search_signs(sign_index(down, vectors), queries, k=5, candidates=9)
    assert found.index.tolist() == [[0, 2, 1, 3, -1], [0, 1, 2, 3, -1]]
    want = [[0.0, 0.0, 1.0, 2.0, math.inf], [1.0] * 4 + [math.inf]]
    np.testing.assert_allclose(found.distance, want, atol=1e-6)
    again = reranked([np.arange(4)] * 2, queries, vectors, k=5)
    np.testing.assert_array_equal(again.index, found.index)
    np.testing.assert_allclose(again.distance, found.distance, atol=1e-6)
    near = exact_neighbours(queries, vectors, k=1, kind="euclidean")
    assert near.distance.tolist() == [[1.0], [0.0]]
    nobody = [np.array([], np.int64)] * 2
    none = reranked(nobody, queries, vectors, k=1)
    assert none.index.tolist() == [[-1], [-1]]
    assert np.isinf(none.distance).all()
    empty = bucket_index(np.zeros((0, 2), np.int32), tables=1, hashes=2)
    assert [len(rows) for rows in bucket_candidates(empty, np.zeros((3, 2)))] == [0] * 3


def test_recall_counts_what_was_wanted():
    assert recall(np.array([[3, 1, -1]]), np.array([[1, 2]])) == 0.5
    assert recall(np.array([[-1]]), np.array([[-1]])) == 1.0
    assert recall(np.array([[4], [5]]), np.array([[4, -1], [6, 7]])) == 1.0 / 3.0


def test_what_does_not_fit_is_refused():
    x = np.ones((3, 2), np.float32)
    down = gaussian_projection(jax.random.key(0), input_size=2, output_size=4)
    index = sign_index(down, x)
    with pytest.raises(ValueError, match=r"vectors must be \[C, m\], got \(2,\)"):
        sign_index(down, x[0])
    with pytest.raises(ValueError, match="at least k = 2, got 1"):
        search_signs(index, x, k=2, candidates=1)
    with pytest.raises(ValueError, match=r"got \(3, 1\) and \(3, 2\)"):
        search_signs(index, x[:, :1], k=1, candidates=1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        exact_neighbours(x, x, k=0)
    with pytest.raises(ValueError, match=r"kind must be .*got 'dot'"):
        exact_neighbours(x, x, k=1, kind="dot")
    with pytest.raises(ValueError, match="candidates must be of 3 queries, got 1"):
        reranked([np.arange(2)], x, x, k=1)
    with pytest.raises(ValueError, match="tables must be positive, got 0"):
        bucket_index(np.zeros((3, 2), int), tables=0, hashes=1)
    with pytest.raises(ValueError, match=r"codes must be .* 4\], got \(3, 2\)"):
        bucket_index(np.zeros((3, 2), int), tables=2, hashes=2)
    with pytest.raises(ValueError, match=r"got \(2,\) and \(2, 1\)"):
        recall(np.zeros(2), np.zeros((2, 1)))
