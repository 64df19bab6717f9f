import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.attention import entropy_invariant
from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.entropy_invariant import entropy_invariant_attention
from kexue_jax.attention.softmax import softmax_attention

attend = jax.jit(
    entropy_invariant_attention,
    static_argnames=("is_causal", "base", "floor", "attention"),
)
entropy_scale = jax.jit(
    entropy_invariant.entropy_scale, static_argnames=("base", "floor")
)
visible_count = jax.jit(
    entropy_invariant.visible_count, static_argnames=("queries", "keys", "is_causal")
)
LENGTHS = (64, 128, 256, 512, 1024, 4096)


def inputs(t=3, s=5):
    draws = np.random.default_rng(0)
    return [draws.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (t, s, s)]


def causal_mask(t, s):
    return np.tri(t, s, s - t, dtype=bool)[None, None]


def slow(query, key, value, mask, base):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out = np.zeros_like(query)
    mask = np.broadcast_to(mask, (2, 2, query.shape[1], key.shape[1]))
    for b, t, n in np.ndindex(query.shape[:-1]):
        kept = np.flatnonzero(mask[b, n, t])
        factor = np.log(len(kept)) / np.log(base) / 2.0  # H = 4
        power = np.exp(factor * key[b, kept, n] @ query[b, t, n])
        out[b, t, n] = power / power.sum() @ value[b, kept, n]
    return out


@functools.partial(jax.jit, static_argnums=1)
def scores_of_a_match(rng, length, draws=100, size=64):
    """Usual scores of keys at random on a sphere, but for the first, at cosine 0.9."""
    rows = jax.random.normal(rng, (draws, length + 1, size))
    rows = rows / jnp.linalg.norm(rows, axis=-1, keepdims=True)
    query, others = rows[:, 0], rows[:, 2:]
    across = rows[:, 1] - jnp.sum(rows[:, 1] * query, -1, keepdims=True) * query
    across = across / jnp.linalg.norm(across, axis=-1, keepdims=True)
    target = 0.9 * query + np.sqrt(1.0 - 0.81) * across
    cosines = jnp.einsum(
        "dh,dsh->ds", query, jnp.concatenate([target[:, None], others], axis=1)
    )
    return cosines * np.sqrt(size)


def entropy(scores):
    weights = scipy.special.softmax(np.asarray(scores, np.float64), axis=-1)
    return -np.sum(weights * np.log(np.maximum(weights, 1e-300)), -1).mean()


def test_the_scale_is_the_logarithm_of_the_visible_keys():
    q, k, v = inputs(t=5)
    mask = np.tri(5, dtype=bool) & (np.arange(5) != 1)
    mask[0, 0] = True
    mask = mask[None, None]
    got = attend(q, k, v, mask, base=3.0)
    np.testing.assert_allclose(got, slow(q, k, v, mask, 3.0), rtol=1e-5, atol=1e-6)


def test_is_ordinary_attention_at_the_base_length():
    q, k, v = inputs()
    got = attend(q, k, v, base=5)
    want = jax.jit(jax.nn.dot_product_attention)(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert float(entropy_scale(512)) == 1.0


def test_a_causal_query_counts_its_own_keys():
    q, k, v = inputs(t=5)
    got = np.asarray(attend(q, k, v, is_causal=True, base=4.0))
    want = attend(q, k, v, causal_mask(5, 5), base=4.0)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    usual = jax.jit(functools.partial(softmax_attention, is_causal=True))(q, k, v)
    usual = np.asarray(usual)
    np.testing.assert_allclose(got[:, 3], usual[:, 3], rtol=1e-5, atol=1e-6)
    assert abs(got[:, 4] - usual[:, 4]).max() > 1e-3


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("t", "s"), [(6, 6), (2, 6), (6, 2)])
def test_keys_are_counted_as_they_are_seen(is_causal, t, s):
    causal = causal_mask(t, s) if is_causal else np.ones((1, 1, t, s), bool)
    for mask in (
        None,
        (np.arange(s) < np.array([[1], [0], [s]]))[:, None, None],
        causal_mask(t, s) & ~np.tri(t, s, s - t - 2, dtype=bool),  # a window of 2
        np.ones((1, 1, 1, 1), bool),
    ):
        got = visible_count(mask, t, s, is_causal=is_causal)
        seen = causal if mask is None else causal & mask
        want = np.sum(seen, axis=-1, keepdims=True)
        np.testing.assert_array_equal(np.broadcast_to(got, want.shape), want)


def test_a_floor_at_the_base_only_sharpens_what_is_longer():
    got = entropy_scale(np.array(LENGTHS), base=256.0, floor=256.0)
    want = np.maximum(1.0, np.log(LENGTHS) / np.log(256.0))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.slow
def test_a_matching_key_keeps_its_share_among_any_number_of_others(keys):
    usual, scaled = [], []
    for length in (64, 512, 4096):
        scores = np.asarray(scores_of_a_match(next(keys), length))
        factor = float(entropy_scale(length))
        usual.append(scipy.special.softmax(scores, axis=-1)[:, 0].mean())
        scaled.append(scipy.special.softmax(factor * scores, axis=-1)[:, 0].mean())
    assert max(usual) - min(usual) > 0.5
    assert max(scaled) - min(scaled) < 0.05


def test_the_entropy_grows_slower_but_grows(keys):
    lengths, usual, scaled = (64, 512, 4096), [], []
    for length in lengths:
        scores = np.asarray(scores_of_a_match(next(keys), length))
        scores = scores[:, 1:]  # unrelated keys alone
        factor = float(entropy_scale(length))
        usual.append(entropy(scores))
        scaled.append(entropy(factor * scores))
    assert 0.5 < (scaled[-1] - scaled[0]) / (usual[-1] - usual[0]) < 0.95


def test_the_factor_grows_with_the_count():
    factor = entropy_scale(np.arange(1, 3000))
    assert (np.diff(factor) > 0.0).all()


def test_blocks_and_shared_keys_give_the_same():
    q, k, v = inputs(t=6, s=6)
    causal = functools.partial(attend, is_causal=True, base=4.0)
    blocks = functools.partial(blocked_attention, query_block=2, key_block=3)
    got = causal(q, k[:, :, :1], v[:, :, :1], attention=blocks)
    want = causal(q, *(np.repeat(x[:, :, :1], 2, axis=2) for x in (k, v)))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_an_attention_without_a_bias_is_scaled_as_well():
    def without_bias(query, key, value, mask, *, scale, is_causal):
        return softmax_attention(
            query, key, value, mask, scale=scale, is_causal=is_causal
        )

    q, k, v = inputs()
    got = attend(q, k, v, attention=without_bias)
    np.testing.assert_array_equal(got, attend(q, k, v))
    with pytest.raises(TypeError, match="bias"):
        attend(q, k, v, attention=without_bias, bias=np.zeros((1, 1, 3, 5)))


def test_a_query_without_keys_gets_zeros_and_finite_gradients():
    nothing = np.zeros((1, 1, 1, 1), bool)

    @jax.jit
    def with_gradients(*arrays):
        out, pull = jax.vjp(functools.partial(attend, mask=nothing), *arrays)
        return out, *pull(jnp.ones_like(out))

    assert not any(np.asarray(x).any() for x in with_gradients(*inputs()))


def test_a_single_key_gives_its_value():
    q, k, v = inputs(t=1, s=1)
    np.testing.assert_allclose(attend(q, k, v), v, rtol=1e-6)


def test_bfloat16_under_jit_and_vmap_keeps_its_dtype():
    narrow = [np.stack([x, x]).astype(jnp.bfloat16) for x in inputs()]
    out = jax.jit(jax.vmap(entropy_invariant_attention))(*narrow)
    assert out.dtype == jnp.bfloat16


def test_a_base_or_a_floor_below_one_is_refused():
    with pytest.raises(ValueError, match=r"base must be greater than 1, got 1\.0"):
        entropy_invariant_attention(*inputs(), base=1.0)
    with pytest.raises(ValueError, match=r"floor must be at least 1, got 0\.0"):
        entropy_invariant_attention(*inputs(), floor=0.0)
    with pytest.raises(ValueError, match="mask must be bool"):
        entropy_invariant_attention(*inputs(), mask=np.ones((1, 1, 3, 5)))
