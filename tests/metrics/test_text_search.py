import numpy as np
import pytest

from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics.text_search import nearest_texts

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")


def texts(count, draws, topics=4, most=6, size=5):
    """Texts about one of some topics: words around a centre of their own."""
    words = draws.integers(1, most + 1, count)
    weight = (np.arange(most) < words[:, None]).astype(np.float32)
    centres = 3.0 * np.random.default_rng(9).normal(size=(topics, 1, size))
    topic = draws.integers(0, topics, count)
    vectors = centres[topic] + draws.normal(size=(count, most, size))
    return vectors.astype(np.float32), weight


def every(queries, query_weights, vectors, weights, kind):
    """Distances ``[Q, C]``, all of them, in float64."""
    found = []
    for x, p in zip(queries.astype(float), query_weights, strict=True):
        for y, q in zip(vectors.astype(float), weights, strict=True):
            a, b = x[p > 0], y[q > 0]
            if kind == "rotators":
                sizes = [np.linalg.norm(v, axis=1) for v in (a, b)]
                cost = 1 - a @ b.T / np.outer(*sizes)
            else:
                sizes = [np.ones(len(v)) for v in (a, b)]
                cost = np.linalg.norm(a[:, None] - b[None], axis=-1)
            left, right = (s / s.sum() for s in sizes)
            plan, *_ = transport_simplex(cost[None], left[None], right[None])
            found.append((plan[0] * cost).sum())
    return np.array(found).reshape(len(queries), len(vectors))


@pytest.mark.parametrize("kind", ["movers", "rotators"])
@pytest.mark.parametrize("block", [16, 1000])
def test_neighbours_are_those_of_all_distances_with_fewer_of_them_solved(kind, block):
    draws = np.random.default_rng(0)
    vectors, weights = texts(80, draws)
    queries, query_weights = texts(4, draws)
    want = every(queries, query_weights, vectors, weights, kind)
    found = nearest_texts(
        queries, query_weights, vectors, weights, k=3, kind=kind, block=block
    )
    np.testing.assert_allclose(found.distance, np.sort(want, 1)[:, :3], rtol=1e-5)
    np.testing.assert_array_equal(found.index, np.argsort(want, 1)[:, :3])
    assert (found.solved <= 64).all()


def test_texts_without_words_are_nobodys_neighbours_and_progress_is_told():
    draws = np.random.default_rng(1)
    vectors, weights = texts(5, draws)
    weights[3:] = 0.0
    weights[0] = 0.0
    told = []
    queries = np.concatenate([vectors[1:2], vectors[:1]])
    query_weights = np.concatenate([weights[1:2], weights[:1]])
    found = nearest_texts(
        queries,
        query_weights,
        vectors,
        weights,
        k=3,
        progress=lambda done, total: told.append((done, total)),
    )
    assert found.index[0].tolist() == [1, 2, -1]
    assert found.distance[0, 0] < 1e-6
    assert found.distance[0, 2] == np.inf
    assert found.index[1].tolist() == [-1] * 3
    assert told == [(1, 2), (2, 2)]


def test_what_does_not_fit_is_refused():
    vectors, weights = texts(3, np.random.default_rng(2))
    for options, message in (
        (dict(k=0), "k and block must be at least 1, got 0"),
        (dict(k=1, kind="cosine"), "kind must be movers or rotators"),
    ):
        with pytest.raises(ValueError, match=message):
            nearest_texts(vectors, weights, vectors, weights, **options)
    with pytest.raises(ValueError, match="texts and their weights must be"):
        nearest_texts(vectors, weights, vectors, weights[:2], k=1)
    with pytest.raises(ValueError, match="vectors must be of one size"):
        nearest_texts(vectors, weights, vectors[..., :-1], weights, k=1)
    with pytest.raises(ValueError, match="weights of texts must not be negative"):
        nearest_texts(vectors, weights, vectors, -weights, k=1)
    lost = vectors.copy()
    lost[1, 0, 0] = np.inf
    with pytest.raises(ValueError, match=r"queries must be finite.*row 1"):
        nearest_texts(lost, weights, vectors, weights, k=1)
