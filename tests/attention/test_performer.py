import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from kexue_jax.attention import performer
from kexue_jax.attention.feature_maps import relu_features
from kexue_jax.attention.performer import (
    chi_norms,
    hyperbolic_features,
    positive_features,
    redrawn,
    sqrt_norms,
    stratified_norms,
    trigonometric_features,
)
from kexue_jax.attention.softmax import softmax_attention

iid_projection = jax.jit(
    performer.iid_projection, static_argnames=("features", "head_size")
)
orthogonal_projection = jax.jit(
    performer.orthogonal_projection, static_argnames=("features", "head_size", "norms")
)
performer_attention = jax.jit(
    performer.performer_attention,
    static_argnames=("features", "is_causal", "chunk_size"),
)
H = 16
FEATURES = (positive_features, hyperbolic_features, trigonometric_features)


def inputs(t=7, s=7, size=0.5):
    shapes = ((2, t, 2, 4), (2, s, 2, 4), (2, s, 2, 3))
    draws = np.random.default_rng(0)
    return [np.float32(size * draws.normal(size=shape)) for shape in shapes]


def pair(total, difference=0.6):
    """Two vectors whose sum is `total` along the first axis."""
    q = np.zeros(H, np.float32)
    q[:2] = 0.5 * total, 0.5 * difference
    return q, np.where(np.arange(H) == 1, -q, q)


def projections(rng, draws, count=H, make=orthogonal_projection, **how):
    make = functools.partial(make, features=count, head_size=H, **how)
    return jax.jit(jax.vmap(make))(jax.random.split(rng, draws))


@pytest.fixture(scope="module")
def orthogonal():
    return projections(jax.random.key(1), 20000)


@pytest.fixture(scope="module")
def iid():
    return projections(jax.random.key(2), 40000, make=iid_projection)


def estimates(rows, features, q, k):
    """Estimates of exp(q . k), one for each of many projections."""

    @jax.jit
    @jax.vmap
    def one(rows):
        a, b = (features(x, rows).product() for x in (q, k))
        return a @ b

    return np.float64(one(rows))


def oracle(x, rows, features):
    x, rows = np.float64(x), np.float64(rows)
    u, half = x @ rows.T, np.sum(x**2, -1, keepdims=True) / 2
    count = rows.shape[0]
    if features is positive_features:
        return np.exp(u - half) / np.sqrt(count)
    if features is hyperbolic_features:
        both = np.concatenate([u, -u], -1)
        return np.exp(both - half) / np.sqrt(2 * count)
    both = np.concatenate([np.cos(u), np.sin(u)], -1)
    return both * np.exp(half) / np.sqrt(count)


@pytest.mark.parametrize("features", FEATURES)
def test_features_are_their_formulas(features, keys):
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    rows = iid_projection(next(keys), features=6, head_size=4)
    got = jax.jit(lambda *arrays: features(*arrays).product())(x, rows)
    want = oracle(x, rows, features)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_rows_are_orthogonal_in_blocks_and_have_the_norms_asked_for(keys):
    rows = orthogonal_projection(next(keys), features=40, head_size=H, norms=sqrt_norms)
    rows = np.asarray(rows)
    assert rows.shape == (40, H)
    for block in (rows[:16], rows[16:32], rows[32:]):
        want = H * np.eye(len(block))
        np.testing.assert_allclose(block @ block.T, want, atol=1e-4)


@pytest.mark.slow
def test_directions_are_uniform_and_norms_are_chi(orthogonal):
    rows = np.float64(orthogonal[:4000])
    norms = np.linalg.norm(rows, axis=-1).ravel()
    assert scipy.stats.kstest(norms, scipy.stats.chi(H).cdf).pvalue > 1e-3
    # Each entry alone is normal; without the signs the diagonal is never positive.
    for i in (0, 7, 15):
        assert scipy.stats.kstest(rows[:, i, i], scipy.stats.norm.cdf).pvalue > 1e-3


@pytest.mark.slow
def test_stratified_norms_stand_at_even_steps_of_the_chi_distribution(keys):
    for count, size in ((7, 16), (256, 64), (5, 1)):
        got = np.sort(stratified_norms(next(keys), count, size))
        levels = np.arange(1, count + 1) / (count + 1)
        want = np.sqrt(2 * scipy.special.gammaincinv(size / 2, levels))
        np.testing.assert_allclose(got, want, rtol=2e-5)
    shuffled = stratified_norms(next(keys), 64, 16)
    assert (np.diff(shuffled) < 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("kind", ["orthogonal", "iid"])
def test_estimates_have_no_bias_in_either_direction(features, kind, request):
    rows = request.getfixturevalue(kind)[:20000]
    for total in (1.5, -1.5):
        q, k = pair(total)
        got = estimates(rows, features, q, k)
        error = got.std() / math.sqrt(got.size)
        assert abs(got.mean() - math.exp(q @ k)) < 4 * error


def bessel(q, k):
    s = math.sqrt(H) * np.linalg.norm(q + k)
    shape = math.gamma(H / 2) * (2 / s) ** (H / 2 - 1)
    return math.exp(-(q @ q + k @ k) / 2) * shape * scipy.special.iv(H / 2 - 1, s)


def test_equal_norms_have_the_bias_of_the_bessel_function(orthogonal):
    q, k = pair(math.sqrt(2.28))
    assert math.isclose(bessel(q, k) / math.exp(q @ k), 0.939, abs_tol=5e-4)
    rows = np.asarray(orthogonal)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    rows = rows / lengths * np.asarray(sqrt_norms(None, H, H))[:, None]
    got = estimates(rows, positive_features, q, k)
    assert abs(got.mean() - bessel(q, k)) < 4 * got.std() / math.sqrt(got.size)


@pytest.mark.slow
def test_stratified_norms_estimate_a_little_too_little(keys):
    q, k = pair(math.sqrt(2.28))
    for count, ratio in ((16, 0.9678), (64, 0.9866), (256, 0.9950)):
        rows = projections(next(keys), 10000, count, norms=stratified_norms)
        got = estimates(rows, positive_features, q, k) / math.exp(q @ k)
        assert abs(got.mean() - ratio) < 4 * got.std() / math.sqrt(got.size) + 5e-5


def mean_square(features, q, k):
    """Times the number of random vectors, for independent ones."""
    z, d = float((q + k) @ (q + k)), float((q - k) @ (q - k))
    kernel = math.exp(q @ k)
    positive = math.exp(z) * kernel**2 * (1 - math.exp(-z))
    if features is positive_features:
        return positive
    if features is hyperbolic_features:
        return 0.5 * (1 - math.exp(-z)) * positive
    return 0.5 * math.exp(z) / kernel**2 * (1 - math.exp(-d)) ** 2


@pytest.mark.parametrize("features", FEATURES)
def test_mean_square_errors_are_those_of_the_formulas(features, iid):
    q, k = pair(math.sqrt(0.5), 1.0)
    got = estimates(iid, features, q, k)
    got = H * np.mean((got - math.exp(q @ k)) ** 2)
    assert abs(got / mean_square(features, q, k) - 1) < 0.05


RATIOS = (
    (positive_features, 0.8475),
    (hyperbolic_features, 0.2248),
    (trigonometric_features, 0.1433),
)


@pytest.mark.slow
@pytest.mark.parametrize(("features", "ratio"), RATIOS)
def test_orthogonal_vectors_err_less_by_the_ratio_of_quadrature(features, ratio, keys):
    q, k = pair(math.sqrt(0.5), math.sqrt(0.5))
    got = estimates(projections(next(keys), 100000), features, q, k)
    got = H * np.mean((got - math.exp(q @ k)) ** 2) / mean_square(features, q, k)
    assert abs(got / ratio - 1) < 0.05


@pytest.mark.parametrize("features", [*FEATURES, relu_features])
@pytest.mark.parametrize("is_causal", [False, True])
def test_is_attention_by_the_products_of_features(features, is_causal, keys):
    q, k, v = inputs()
    rows = orthogonal_projection(next(keys), features=9, head_size=4)
    how = dict(features=features, is_causal=is_causal, chunk_size=3)
    got = performer_attention(q, k, v, projection=rows, **how)
    if features is relu_features:
        a, b = (
            np.maximum(np.float64(x) @ np.float64(rows).T / 2**0.5, 0) + 1e-3
            for x in (q, k)
        )
    else:
        a, b = (oracle(np.float64(x) / 2**0.5, rows, features) for x in (q, k))
    weights = np.einsum("btnm,bsnm->bnts", a, b) * (np.tri(7) if is_causal else 1)
    weights = weights / weights.sum(-1, keepdims=True)
    want = np.einsum("bnts,bsnv->btnv", weights, np.float64(v))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("is_causal", [False, True])
def test_many_features_of_small_inputs_are_near_softmax_attention(is_causal, keys):
    q, k, v = inputs(size=0.3)
    rows = orthogonal_projection(next(keys), features=4096, head_size=4)
    got = performer_attention(q, k, v, projection=rows, is_causal=is_causal)
    mask = np.tri(7, dtype=bool)[None, None] if is_causal else None
    np.testing.assert_allclose(got, softmax_attention(q, k, v, mask), atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
def test_the_last_key_changes_no_earlier_output_however_large_it_is(features, keys):
    q, k, v = inputs(size=1.0)
    rows = orthogonal_projection(next(keys), features=16, head_size=4)
    how = dict(features=features, is_causal=True, chunk_size=3, projection=rows)
    before = np.asarray(performer_attention(q, k, v, **how))
    for size in (3.0, 10.0, 100.0):
        times = np.where(np.arange(7) == 6, np.float32(size), 1)[:, None, None]
        after = np.asarray(performer_attention(q, k * times, v, **how))
        np.testing.assert_array_equal(after[:, :-1], before[:, :-1])


@pytest.mark.slow
@pytest.mark.parametrize("size", [1.0, 2.0, 3.0])
def test_attention_of_long_vectors_does_not_become_uniform(size, keys):
    # Features with a constant added: within 5e-15 of the mean at size 3.
    q, k, v = size * np.random.default_rng(0).normal(size=(3, 1, 64, 1, 64))
    rows = orthogonal_projection(next(keys), features=256, head_size=64)
    got = np.asarray(performer_attention(q, k, v, projection=rows)) / size
    assert np.linalg.norm(got - v.mean(1, keepdims=True) / size) > 0.25 * 64


@pytest.mark.slow
def test_a_vector_added_to_all_keys_changes_the_estimate_but_not_softmax(keys):
    q, k, v = inputs(size=1.0)
    rows = orthogonal_projection(next(keys), features=8, head_size=4)
    moved = k + 1.0
    softmax = softmax_attention(q, moved, v) - softmax_attention(q, k, v)
    assert jnp.abs(softmax).max() < 1e-5
    attend = functools.partial(performer_attention, projection=rows)
    assert jnp.abs(attend(q, moved, v) - attend(q, k, v)).max() > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("is_causal", [False, True])
def test_gradients_are_finite_and_right_with_a_hidden_key(features, is_causal, keys):
    q, k, v = inputs()
    rows = orthogonal_projection(next(keys), features=8, head_size=4)
    mask = np.ones((2, 1, 1, 7), bool)
    mask[0, ..., 0] = False

    def dense(query, key, value):
        a, b = (features(x / 2**0.5, rows).product() for x in (query, key))
        weights = jnp.einsum("btnm,bsnm->bnts", a, b) * mask
        weights = jnp.where(
            jnp.tri(7, dtype=bool)[None, None] | (not is_causal), weights, 0
        )
        total = weights.sum(-1, keepdims=True)
        weights = weights / jnp.where(total == 0, 1, total)
        return jnp.sum(jnp.einsum("bnts,bsnv->btnv", weights, value) ** 2)

    def fast(query, key, value):
        out = performer_attention(
            query,
            key,
            value,
            mask,
            projection=rows,
            features=features,
            is_causal=is_causal,
            chunk_size=3,
        )
        return jnp.sum(out**2)

    got, want = (jax.jit(jax.grad(f, (0, 1, 2)))(q, k, v) for f in (fast, dense))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-3, atol=1e-5)


def test_a_projection_belongs_to_its_interval(keys):
    make = functools.partial(orthogonal_projection, features=8, head_size=4)
    draw = functools.partial(redrawn, next(keys), interval=10, projection=make)
    np.testing.assert_array_equal(draw(0), draw(9))
    np.testing.assert_array_equal(jax.jit(draw)(np.int32(15)), draw(10))
    assert not np.allclose(draw(9), draw(10))


def test_bfloat16_keeps_its_dtype_and_stays_near_float32(keys):
    q, k, v = (x.astype(jnp.bfloat16) for x in inputs())
    rows = orthogonal_projection(next(keys), features=16, head_size=4)
    attend = functools.partial(performer_attention, projection=rows)
    got, want = attend(q, k, v), attend(*(x.astype(np.float32) for x in (q, k, v)))
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), want, rtol=1e-2, atol=1e-2)


def test_sizes_that_do_not_fit_are_refused_by_name(keys):
    q, k, v = inputs()
    with pytest.raises(ValueError, match=r"\[M, H\] with H = 4, got \(8, 3\)"):
        performer_attention(q, k, v, projection=np.ones((8, 3)))
    with pytest.raises(ValueError, match="must be positive, got 0, 4"):
        orthogonal_projection(next(keys), features=0, head_size=4)
    with pytest.raises(ValueError, match="interval must be positive, got 0"):
        redrawn(next(keys), 0, interval=0, projection=chi_norms)
