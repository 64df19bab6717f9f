import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms import nearest

cosine_similarity = jax.jit(nearest.cosine_similarity)
nearest_by_cosine = jax.jit(nearest.nearest_by_cosine, static_argnames=("k", "block"))


def vectors(count=37, others=11, size=5):
    draws = np.random.default_rng(0)
    corpus = draws.normal(size=(count, size)).astype(np.float32)
    corpus[20] = 2.0 * corpus[4]  # as near as each other to everything
    return draws.normal(size=(others, size)).astype(np.float32), corpus


def by_sorting(queries, corpus, k):
    queries, corpus = (
        a / np.linalg.norm(a.astype(np.float64), axis=1, keepdims=True)
        for a in (queries, corpus)
    )
    cosine = queries @ corpus.T
    order = np.argsort(-np.round(cosine, 6), axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosine, order, axis=1)


@pytest.mark.parametrize("block", [4, 10, 37, 1000])
def test_blocks_of_any_size_find_what_sorting_all_finds(block):
    queries, corpus = vectors()
    found = nearest_by_cosine(queries, corpus, k=6, block=block)
    index, cosine = by_sorting(queries, corpus, 6)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-6)


def test_a_mask_hides_and_what_is_missing_is_minus_one():
    queries, corpus = vectors()
    keep = np.zeros(37, bool)
    keep[[3, 20, 36]] = True
    corpus[5] = np.nan
    found = nearest_by_cosine(queries, corpus, keep, k=5, block=10)
    found = jax.device_get(found)
    index, cosine = by_sorting(queries, corpus[keep], 3)
    np.testing.assert_array_equal(found.index[:, :3], np.flatnonzero(keep)[index])
    np.testing.assert_allclose(found.similarity[:, :3], cosine, atol=1e-6)
    assert (found.index[:, 3:] == -1).all()
    assert (found.similarity[:, 3:] == -np.inf).all()
    none = nearest_by_cosine(queries, corpus[:0], k=2)
    assert (np.asarray(none.index) == -1).all()


def test_no_array_of_queries_by_corpus_is_made():
    shapes = [jax.ShapeDtypeStruct((n, 3), jnp.float32) for n in (1000, 2000)]
    search = nearest_by_cosine.lower(*shapes, k=2, block=16).compile()
    held = search.memory_analysis().temp_size_in_bytes
    assert held < 1000 * 2000


def test_the_order_is_another_one_than_by_distance():
    corpus = np.array([[10.0, 0.0], [0.5, 1.0]], np.float32)
    query = np.array([[1.0, 0.2]], np.float32)
    assert nearest_by_cosine(query, corpus, k=1).index.tolist() == [[0]]
    assert np.argmin(np.linalg.norm(query - corpus, axis=1)) == 1


def test_cosines_are_their_formula_of_any_length():
    x, y = vectors(37, 37)
    with jax.enable_x64(True):
        x6, y6 = (a.astype(np.float64) for a in (x, y))
        found = np.asarray(cosine_similarity(x6, y6))
        slope = jax.jit(jax.grad(lambda x: cosine_similarity(x, y6[0])))(x6[0])
    wide = [a.astype(np.float64) for a in (x, y)]
    norms = [np.linalg.norm(a, axis=1) for a in wide]
    units = [a / n[:, None] for a, n in zip(wide, norms, strict=True)]
    want = np.sum(units[0] * units[1], axis=1)
    np.testing.assert_allclose(found, want, rtol=1e-12)
    want = (units[1][0] - want[0] * units[0][0]) / norms[0][0]
    np.testing.assert_allclose(slope, want, rtol=1e-10)
    for factor in (1e-30, 1e30):
        scaled = cosine_similarity(np.float32(factor) * x, -y / np.float32(factor))
        np.testing.assert_allclose(scaled, -found, rtol=1e-5, atol=1e-6)


def test_a_zero_vector_has_the_cosine_0_and_no_slope():
    zero, x = np.zeros((1, 3), jnp.bfloat16), np.ones((1, 3), jnp.bfloat16)
    both = jax.jit(jax.grad(lambda x, y: cosine_similarity(x, y).sum(), (0, 1)))
    assert cosine_similarity(zero, x).tolist() == [0.0]
    assert cosine_similarity(x, x).dtype == jnp.float32
    assert not any(
        np.asarray(slope).any()
        for pair in ((zero, x), (zero, zero))
        for slope in both(*pair)
    )


def test_what_does_not_fit_is_refused():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="x and y must both be"):
        cosine_similarity(x, x[0])
    with pytest.raises(ValueError, match=r"must be \[Q, D\] and \[C, D\]"):
        nearest_by_cosine(x, x[:, :2], k=1)
    with pytest.raises(ValueError, match=r"mask must be bool \[2\], got float32"):
        nearest_by_cosine(x, x, np.ones(2), k=1)
    with pytest.raises(ValueError, match="k and block must be at least 1, got 0"):
        nearest_by_cosine(x, x, k=0)
