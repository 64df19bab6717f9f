import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention import scored, synthesizer
from kexue_jax.attention.softmax import softmax_attention

scored_attention = jax.jit(scored.scored_attention, static_argnames="is_causal")
random_scores = jax.jit(synthesizer.random_scores, static_argnames="length")
factorized_random_scores = jax.jit(
    synthesizer.factorized_random_scores, static_argnames="length"
)
dense_scores = jax.jit(synthesizer.dense_scores)
factorized_dense_scores = jax.jit(synthesizer.factorized_dense_scores)
mixed_scores = jax.jit(synthesizer.mixed_scores)

B, T, N, D, K, L = 2, 5, 3, 6, 4, 8


@pytest.fixture
def normal():
    """Another array at every call, the same in every run."""
    draws = np.random.default_rng(0)
    return lambda *shape: draws.normal(size=shape).astype(np.float32)


def dense_params(normal, longest=L):
    shapes = ((N, D, K), (N, K), (N, K, longest), (N, longest))
    return [normal(*shape) for shape in shapes]


def test_the_average_is_that_of_a_softmax_in_float64(normal):
    scores, value = normal(B, N, T, L), normal(B, L, N, 7)
    mask = normal(B, 1, T, L) > 0.0
    got = scored_attention(scores, value, mask)
    power = np.exp(np.asarray(scores, np.float64)) * mask
    total = np.maximum(power.sum(-1, keepdims=True), 1e-300)
    want = np.einsum("bnts,bsnv->btnv", power / total, value)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_dense_scores_are_a_perceptron_of_each_token(normal):
    features, params = normal(B, T, D), dense_params(normal)
    w, b, u, c = (np.asarray(x, np.float64) for x in params)
    got = np.asarray(dense_scores(features, *params))
    assert got.shape == (B, N, T, T)
    for i, n, t in np.ndindex(B, N, T):
        hidden = np.maximum(np.asarray(features, np.float64)[i, t] @ w[n] + b[n], 0.0)
        want = (hidden @ u[n] + c[n])[:T]
        np.testing.assert_allclose(got[i, n, t], want, rtol=1e-5, atol=1e-5)


def test_one_dense_layer_is_attention_to_frozen_keys(normal):
    """With relu(x) - relu(-x) = x the perceptron can be linear: x (W_q K^T)."""
    features, frozen = normal(B, T, D), normal(N, T, K)
    project, value = normal(N, D, K), normal(B, T, N, 3)
    twice = np.concatenate([project, -project], axis=-1)
    reader = np.swapaxes(np.concatenate([frozen, -frozen], axis=-1), 1, 2)
    bias = np.zeros((N, 2 * K)), np.zeros((N, T))
    scores = dense_scores(features, twice, bias[0], reader, bias[1])
    query = np.einsum("btd,ndk->btnk", features, project)
    key = np.broadcast_to(np.swapaxes(frozen, 0, 1)[None], (B, T, N, K))
    want = jax.jit(softmax_attention)(query, key, value, scale=1.0)
    got = scored_attention(scores, value)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_random_attention_is_linear_in_its_values_and_knows_its_places(normal):
    scores = random_scores(normal(N, L, L), T)
    one, two = normal(B, T, N, 4), normal(B, T, N, 4)

    def attended(value):
        return np.asarray(scored_attention(scores, value))

    want = 2.0 * attended(one) - 3.0 * attended(two)
    np.testing.assert_allclose(
        attended(2.0 * one - 3.0 * two), want, rtol=1e-5, atol=1e-5
    )
    turned = attended(one[:, ::-1])[:, ::-1]
    assert np.max(np.abs(turned - attended(one))) > 0.1


def test_factorized_random_scores_have_the_rank_of_their_factors(normal):
    left, right = normal(N, L, 2), normal(N, L, 2)
    got = factorized_random_scores(left, right, L)
    want = np.einsum("nik,njk->nij", left, right)[None]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert np.linalg.matrix_rank(np.asarray(got)[0], tol=1e-4).tolist() == [2] * N


def test_factorized_dense_rows_are_outer_products_with_all_scores_different(normal):
    features = normal(B, 9, D)
    high, low = normal(N, D, 3), normal(N, D, 3)
    got = np.asarray(factorized_dense_scores(features, high, low))
    a, c = (np.einsum("btd,ndk->bntk", features, kernel) for kernel in (high, low))
    for p, r in np.ndindex(3, 3):
        want = a[..., p] * c[..., r]
        np.testing.assert_allclose(got[..., 3 * p + r], want, rtol=1e-4, atol=1e-5)
    rows = got.reshape(-1, 9)
    assert min(len(np.unique(row.round(6))) for row in rows) == 9
    assert np.linalg.matrix_rank(rows.reshape(-1, 3, 3), tol=1e-3).max() == 1


def test_a_mixture_is_a_weighted_sum_and_trains_its_weights(normal):
    one, two = normal(1, N, T, T), normal(B, N, T, T)
    logits = np.float32([0.3, -0.4])
    shares = np.exp(logits) / np.exp(logits).sum()
    got = mixed_scores([one, two], logits)
    want = shares[0] * one + shares[1] * two
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    alone = mixed_scores([one, two], np.float32([-np.inf, 0.0]))
    np.testing.assert_allclose(alone, two, rtol=1e-6)
    value = normal(B, T, N, 4)

    def loss(logits):
        return jnp.sum(scored_attention(mixed_scores([one, two], logits), value) ** 2)

    gradient = np.asarray(jax.jit(jax.grad(loss))(logits))
    assert abs(gradient.sum()) < 1e-4 < np.max(np.abs(gradient))


@pytest.mark.slow
@pytest.mark.parametrize("longest", [T, L])
def test_shorter_inputs_are_longer_ones_with_the_rest_masked(normal, longest):
    table, params = normal(N, L, L), dense_params(normal)
    features, value = normal(B, longest, D), normal(B, longest, N, 4)
    seen = (np.arange(longest) < T)[None, None, None]
    for make in (
        lambda x: random_scores(table, x.shape[1]),
        lambda x: dense_scores(x, *params),
    ):
        whole = np.asarray(scored_attention(make(features), value, seen))[:, :T]
        short = scored_attention(make(features[:, :T]), value[:, :T])
        np.testing.assert_allclose(whole, short, rtol=1e-5, atol=1e-6)


def test_nothing_of_the_future_reaches_a_causal_output(normal):
    params = dense_params(normal)
    kernels = normal(N, D, 3), normal(N, D, 2)
    features, value = normal(1, T, D), normal(1, T, N, 4)

    def out(features, value):
        scores = mixed_scores(
            [
                dense_scores(features, *params),
                factorized_dense_scores(features, *kernels),
            ],
            np.zeros(2),
        )
        return scored_attention(scores, value, is_causal=True)

    for slope in jax.jit(jax.jacrev(out, argnums=(0, 1)))(features, value):
        size = np.abs(slope).sum(axis=(0, 2, 3, 4, *range(6, slope.ndim)))
        assert (size[~np.tri(T, dtype=bool)] == 0).all()
        assert (np.diagonal(size)[1:] > 0).all()  # the first sees one key alone


def test_no_visible_place_gives_zeros_with_zero_gradients(normal):
    scores, value = normal(1, N, T, T), normal(B, T, N, 4)
    nothing = np.zeros((1, 1, 1, T), bool)

    @jax.jit
    def with_gradients(*arrays):
        out, pull = jax.vjp(lambda *x: scored_attention(*x, nothing), *arrays)
        return out, *pull(jnp.ones_like(out))

    assert not any(np.asarray(x).any() for x in with_gradients(scores, value))


def test_bfloat16_keeps_its_dtype_under_jit(normal):
    features, value = normal(B, T, D), normal(B, T, N, 4)
    params = dense_params(normal)

    @jax.jit
    def out(features, value, params):
        scores = dense_scores(features, *params)
        return scored_attention(scores, value)

    narrow = jax.tree.map(lambda x: x.astype(jnp.bfloat16), (features, value, params))
    got, want = out(*narrow), out(features, value, params)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(got), want, atol=0.15)


def test_what_does_not_fit_is_refused_by_name(normal):
    table = normal(N, L, L)
    with pytest.raises(ValueError, match="length must be 0 to 8"):
        random_scores(table, L + 1)
    with pytest.raises(ValueError, match=r"table must be \[N, L, L\]"):
        random_scores(table[:, 1:], T)
    with pytest.raises(ValueError, match="left and right"):
        factorized_random_scores(table, table[..., 1:], T)
    kernels = normal(N, D, 2), normal(N, D, 2)
    with pytest.raises(ValueError, match="length must be 0 to 4"):
        factorized_dense_scores(normal(B, T, D), *kernels)
    with pytest.raises(ValueError, match="hidden_kernel"):
        dense_scores(normal(B, T, D + 1), *dense_params(normal))
    with pytest.raises(ValueError, match="one for each of scores"):
        mixed_scores([table[None]], np.zeros(2))
    with pytest.raises(ValueError, match="scores and value"):
        scored_attention(table[None], normal(B, T, N, 4))
