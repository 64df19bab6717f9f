import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from sklearn.random_projection import (
    GaussianRandomProjection,
    SparseRandomProjection,
)

from kexue_jax.algorithms import random_projection
from kexue_jax.algorithms.random_projection import Dense, Structured, hadamard_transform

SIZES = ("input_size", "output_size")
compiled = partial(jax.jit, static_argnames=SIZES)
gaussian_projection = compiled(random_projection.gaussian_projection)
rademacher_projection = compiled(random_projection.rademacher_projection)
sparse_projection = jax.jit(
    random_projection.sparse_projection, static_argnames=(*SIZES, "sparsity")
)
structured_projection = compiled(random_projection.structured_projection)
project = jax.jit(random_projection.project)
KINDS = {
    "gaussian": gaussian_projection,
    "rademacher": rademacher_projection,
    "achlioptas": sparse_projection,
    "very sparse": partial(sparse_projection, sparsity=6.0),
    "structured": structured_projection,
}
each = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def matrix_of(projection):
    """The matrix of a projection, ``[n, m]`` float64, of scipy's Hadamard matrix."""
    if isinstance(projection, Dense):
        return np.asarray(projection.matrix, np.float64)
    signs, rows = (np.asarray(part) for part in projection)
    size = 1 << math.ceil(math.log2(signs.shape[1]))
    mixed = scipy.linalg.hadamard(size)[:, : signs.shape[1]] / math.sqrt(size)
    whole = np.concatenate([mixed * row for row in signs.astype(float)])
    return whole[rows] * math.sqrt(size / len(rows))


@partial(jax.jit, static_argnames=("make", "output_size", "count"))
def squared_lengths(rng, x, *, make, output_size, count):
    """Of vectors ``[K, m]``, each by `count` projections: ``[count, K]``."""

    def one(key):
        down = make(key, input_size=x.shape[-1], output_size=output_size)
        return jnp.sum(jnp.square(project(down, x)), axis=-1)

    return jax.lax.map(one, jax.random.split(rng, count), batch_size=100)


def agrees(values, mean, variance):
    """Whether samples have this mean and variance, within five standard errors."""
    values = np.asarray(values, np.float64)
    count, own = len(values), values.var()
    fourth = np.mean((values - values.mean()) ** 4)
    assert abs(values.mean() - mean) <= 5.0 * math.sqrt(own / count) + 1e-5
    error = math.sqrt(max(fourth - own**2, 0.0) / count)
    assert abs(own - variance) <= 5.0 * error + 1e-6


@each
@pytest.mark.parametrize(("m", "n"), [(20, 7), (16, 40), (1, 3)])
def test_it_multiplies_by_its_matrix(make, m, n, keys):
    down = make(next(keys), input_size=m, output_size=n)
    x = normal(2, 3, m)
    got = project(down, x)
    want = np.float64(x) @ matrix_of(down).T
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def unit_vectors(m):
    """Even, drawn, of two entries and of one: ``[4, m]``."""
    drawn = np.random.default_rng(0).normal(size=m)
    pair, one = np.eye(m)[0] - np.eye(m)[1], np.eye(m)[0]
    made = np.stack([np.ones(m), drawn, pair, one])
    return made / np.linalg.norm(made, axis=1, keepdims=True)


@pytest.mark.parametrize("name", KINDS)
def test_squared_lengths_have_the_mean_and_the_variance_of_their_kind(name):
    m, n = 32, 8
    x = unit_vectors(m)
    found = squared_lengths(
        jax.random.key(1), x, make=KINDS[name], output_size=n, count=4000
    )
    fourth = np.sum(x**4, axis=1)
    variance = {
        "gaussian": np.full(4, 2.0 / n),
        "rademacher": 2.0 / n * (1.0 - fourth),
        "achlioptas": np.full(4, 2.0 / n),
        "very sparse": (2.0 + (6.0 - 3.0) * fourth) / n,
        "structured": 2.0 / n * (m - n) / (m - 1) * (1.0 - fourth),
    }[name]
    for values, expected in zip(np.asarray(found).T, variance, strict=True):
        agrees(values, 1.0, expected)


def test_the_structured_map_of_more_rows_than_a_block_varies_by_the_last_of_them():
    m, n = 8, 21  # two whole blocks, and five rows of a third
    x = unit_vectors(m)
    found = squared_lengths(
        jax.random.key(3), x, make=structured_projection, output_size=n, count=2000
    )
    variance = 2 * 5 * (m - 5) / (n**2 * (m - 1)) * (1.0 - np.sum(x**4, axis=1))
    for values, expected in zip(np.asarray(found).T, variance, strict=True):
        agrees(values, 1.0, expected)


def test_a_very_sparse_map_spoils_sparse_vectors():
    """The numbers of n = 200, m = 2000: 0.468 and 0.338, of a Gaussian map 0.1."""
    n, m = 200, 2000
    x = np.zeros((2, m))
    x[0, 0], x[1, :2] = 1.0, (math.sqrt(0.5), -math.sqrt(0.5))
    s = math.sqrt(m)
    assert abs(math.sqrt((s - 1.0) / n) - 0.468) < 5e-4
    assert abs(math.sqrt((s + 1.0) / (2.0 * n)) - 0.338) < 6e-4
    # Only the first two columns matter, so the others need not be drawn.
    for sparsity, variances in (
        (s, ((s - 1.0) / n, (s + 1.0) / (2.0 * n))),
        (3.0, (0.01, 0.01)),
    ):
        found = squared_lengths(
            jax.random.key(2),
            x[:, :2],
            make=partial(sparse_projection, sparsity=sparsity),
            output_size=n,
            count=3000,
        )
        for values, variance in zip(np.asarray(found).T, variances, strict=True):
            agrees(values, 1.0, variance)


def test_entries_are_those_of_scikit_learn_in_distribution():
    n, m = 50, 400
    ours = gaussian_projection(jax.random.key(0), input_size=m, output_size=n)
    theirs = GaussianRandomProjection(n, random_state=0).fit(np.zeros((1, m)))
    own = np.std(np.asarray(ours.matrix))
    assert abs(own / np.std(theirs.components_) - 1.0) < 0.03
    for s in (3.0, math.sqrt(m)):
        ours = sparse_projection(
            jax.random.key(0), input_size=m, output_size=n, sparsity=s
        ).matrix
        theirs = SparseRandomProjection(
            n, density=1.0 / s, dense_output=True, random_state=0
        ).fit(np.zeros((1, m)))
        values = np.unique(theirs.components_.toarray())
        np.testing.assert_allclose(np.unique(ours), values, rtol=1e-6)
        share = np.mean(np.asarray(ours) != 0.0)
        assert abs(share - 1.0 / s) < 5.0 * math.sqrt((1.0 - 1.0 / s) / s / (n * m))
        assert abs(np.mean(np.asarray(ours) > 0.0) - 0.5 / s) < 0.02


def test_the_structured_map_is_an_isometry_where_no_row_is_left_out(keys):
    x = normal(4, 16)
    for n in (16, 48):
        down = structured_projection(next(keys), input_size=16, output_size=n)
        assert sorted(down.rows.tolist()) == list(range(n))
        got = np.sum(np.square(np.asarray(project(down, x))), axis=-1)
        np.testing.assert_allclose(got, np.sum(x**2, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 8, 64])
def test_the_fast_transform_is_the_hadamard_matrix_and_its_own_inverse(size):
    x = normal(3, size)
    got, back = jax.jit(
        lambda x: (hadamard_transform(x), hadamard_transform(hadamard_transform(x)))
    )(x)
    matrix = scipy.linalg.hadamard(size) / math.sqrt(size)
    np.testing.assert_allclose(got, x @ matrix.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-6)


@each
def test_maps_are_linear_the_same_for_a_key_and_in_chunks(make, keys):
    key = next(keys)
    x, y = normal(2, 10, 12)

    @jax.jit
    def mapped(key, x):
        return project(make(key, input_size=12, output_size=5), x)

    def of(x):
        return np.asarray(mapped(key, x))

    np.testing.assert_allclose(
        of(2.0 * x - y), 2.0 * of(x) - of(y), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_array_equal(of(x), of(x))
    chunks = np.concatenate([of(x[at : at + 3]) for at in range(0, 10, 3)])
    np.testing.assert_allclose(chunks, of(x), rtol=1e-6, atol=1e-6)
    assert np.abs(np.asarray(mapped(next(keys), x)) - of(x)).max() > 0.1


@each
def test_it_works_under_vmap_and_its_gradient_is_its_transpose(make, keys):
    down = make(next(keys), input_size=12, output_size=5)
    x, pull = normal(4, 12), np.arange(5, dtype=np.float32)

    @jax.jit
    def all_of(x):
        slope = jax.grad(lambda row: jnp.sum(project(down, row) * pull))(x[0])
        return jax.vmap(partial(project, down))(x), project(down, x), slope

    mapped, whole, slope = all_of(x)
    np.testing.assert_allclose(mapped, whole, rtol=1e-6, atol=1e-6)
    want = matrix_of(down).T @ np.arange(5.0)
    np.testing.assert_allclose(slope, want, rtol=1e-5, atol=1e-5)


@each
def test_bfloat16_goes_in_and_out_with_sums_in_float32(make, keys):
    down = make(next(keys), input_size=1000, output_size=4)
    x = normal(3, 1000).astype(jnp.bfloat16)
    got = project(down, x)
    want = np.float64(x) @ matrix_of(down).T
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(got, float), want, rtol=4e-3, atol=1e-4)
    assert project(down, np.ones(1000, np.int32)).dtype == jnp.float32


def test_float64_stays_float64(keys):
    with jax.enable_x64(True):
        down = structured_projection(next(keys), input_size=6, output_size=5)
        x = np.random.default_rng(0).normal(size=6)
        got = project(down, x)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, matrix_of(down) @ x, rtol=1e-12)


@each
def test_zeros_and_equal_vectors_stay_so(make, keys):
    down = make(next(keys), input_size=5, output_size=9)
    got = project(down, np.zeros((2, 5)))
    assert not np.asarray(got).any()
    assert project(down, np.zeros((0, 5))).shape == (0, 9)


def test_what_does_not_fit_is_refused(keys):
    key = next(keys)
    down = gaussian_projection(key, input_size=4, output_size=2)
    with pytest.raises(ValueError, match=r"x must be \[\.\.\., 4\] .*got \(2, 3\)"):
        project(down, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"got \(\)"):
        project(down, np.ones(()))
    with pytest.raises(ValueError, match=r"matrix must have two axes, got \(3,\)"):
        project(Dense(np.ones(3)), np.ones(3))
    with pytest.raises(ValueError, match=r"signs must have two axes, got \(3,\)"):
        project(Structured(np.ones(3), np.arange(2)), np.ones(3))
    for make in KINDS.values():
        with pytest.raises(ValueError, match="input_size must be positive, got 0"):
            make(key, input_size=0, output_size=2)
        with pytest.raises(ValueError, match="output_size must be positive, got -1"):
            make(key, input_size=3, output_size=-1)
    for sparsity in (0.5, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"sparsity must be .* got {sparsity}"):
            sparse_projection(key, input_size=3, output_size=2, sparsity=sparsity)
    for size in (3, 0):
        with pytest.raises(ValueError, match=rf"a power of two, got \(2, {size}\)"):
            hadamard_transform(np.ones((2, size)))
