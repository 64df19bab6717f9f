import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.local import atrous_attention, local_attention
from kexue_jax.attention.masks import atrous_mask, local_mask
from kexue_jax.attention.softmax import softmax_attention

near = jax.jit(local_attention, static_argnames=("is_causal", "radius", "block"))
comb = jax.jit(atrous_attention, static_argnames=("is_causal", "rate"))


def inputs(t, s, heads=2):
    shapes = ((2, t, heads, 4), (2, s, 2, 4), (2, s, 2, 3))
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


def drawn(shape):
    return np.random.default_rng(1).random(shape) < 0.6


def slow(query, key, value, seen):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
    power = np.exp(scores) * np.asarray(seen)
    total = power.sum(-1, keepdims=True)
    weights = power / np.where(total == 0.0, 1.0, total)
    return np.einsum("bnts,bsnv->btnv", weights, value)


def assert_same(arrays, sparse, dense):
    def run(f, change, *arrays):
        out, pull = jax.vjp(f, *arrays)
        return out, *pull(change)

    shape = jax.eval_shape(dense, *arrays).shape
    change = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    got = jax.jit(functools.partial(run, sparse))(change, *arrays)
    want = jax.jit(functools.partial(run, dense))(change, *arrays)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


def dense_local(radius, is_causal):
    def attend(q, k, v, mask=None):
        seen = local_mask(q.shape[1], k.shape[1], radius=radius)
        seen = seen if mask is None else seen & mask
        return softmax_attention(q, k, v, seen, is_causal=is_causal)

    return attend


@pytest.mark.parametrize(
    ("t", "s", "radius", "block", "is_causal"),
    [
        (13, 13, 3, 4, False),
        (12, 12, 3, 3, True),
        (5, 11, 2, 2, True),
        (5, 11, 2, 2, False),
        (9, 4, 2, 3, True),
        (7, 7, 20, None, False),
    ],
)
def test_blocks_give_what_the_mask_gives(t, s, radius, block, is_causal):
    arrays = inputs(t, s, heads=4)
    options = dict(radius=radius, block=block, is_causal=is_causal)
    sparse = functools.partial(local_attention, **options)
    assert_same(arrays, sparse, dense_local(radius, is_causal))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 1, 1, 13), (1, 2, 13, 13), (2, 2, 13, 1)])
def test_blocks_honour_masks_of_any_shape(shape):
    arrays = inputs(13, 13)
    mask = drawn(shape)
    sparse = functools.partial(local_attention, mask=mask, radius=3, block=4)
    dense = functools.partial(dense_local(3, False), mask=mask)
    assert_same(arrays, sparse, dense)


def test_masks_of_fewer_queries_than_keys_are_read_at_the_right_place():
    arrays = inputs(5, 11)
    mask = drawn((1, 1, 5, 11))
    got = near(*arrays, mask, radius=2, block=2)
    want = jax.jit(dense_local(2, False))(*arrays, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_is_the_softmax_of_near_scores_in_float64():
    arrays = inputs(10, 10)
    got = near(*arrays, radius=2, block=4)
    apart = np.arange(10)[:, None] - np.arange(10)
    want = slow(*arrays, np.abs(apart) <= 2)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    got = near(*arrays, radius=2, block=4, is_causal=True)
    want = slow(*arrays, (apart >= 0) & (apart <= 2))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_radius_of_zero_gives_every_query_its_own_value():
    q, k, v = inputs(6, 6)
    np.testing.assert_allclose(near(q, k, v, radius=0), v, rtol=1e-6)
    one = [x[:, :1] for x in (q, k, v)]
    np.testing.assert_allclose(near(*one, radius=3), one[2], rtol=1e-6)


def test_no_array_of_the_compiled_form_is_as_large_as_the_scores():
    one = jax.ShapeDtypeStruct((1, 4096, 1, 8), jnp.float32)
    attend = functools.partial(local_attention, radius=16, block=16)
    used = [
        jax.jit(attend).lower(one, one, one).compile().memory_analysis()
        for one in (one, jax.ShapeDtypeStruct((1, 8192, 1, 8), jnp.float32))
    ]
    first, second = (u.temp_size_in_bytes for u in used)
    assert second < 2.2 * first
    assert first < 4 * 4096**2 / 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("t", "s", "rate", "is_causal"),
    [
        (13, 13, 4, False),
        (12, 12, 3, True),
        (5, 11, 3, True),
        (9, 4, 2, False),
        (3, 3, 7, True),
    ],
)
def test_dealing_out_gives_what_the_mask_gives(t, s, rate, is_causal):
    def dense(q, k, v):
        return softmax_attention(
            q, k, v, atrous_mask(t, s, rate=rate), is_causal=is_causal
        )

    sparse = functools.partial(atrous_attention, rate=rate, is_causal=is_causal)
    assert_same(inputs(t, s, heads=4), sparse, dense)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(2, 1, 1, 11), (1, 2, 8, 11), (2, 2, 8, 1)])
def test_dealing_out_honours_masks_of_any_shape(shape):
    arrays = inputs(8, 11)
    mask = drawn(shape)
    got = comb(*arrays, mask, rate=3)
    want = slow(*arrays, atrous_mask(8, 11, rate=3) & mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attend", [local_attention, atrous_attention])
def test_queries_without_keys_get_zeros_and_finite_gradients(attend):
    mask = (np.arange(6) < np.array([[0], [6]]))[:, None, None]

    @jax.jit
    def with_gradients(*arrays):
        out, pull = jax.vjp(functools.partial(attend, mask=mask), *arrays)
        return out, pull(jnp.ones_like(out))

    out, grads = jax.device_get(with_gradients(*inputs(6, 6)))
    assert not out[0].any()
    assert not any(g[0].any() for g in grads)
    assert all(np.isfinite(g).all() for g in grads)


@pytest.mark.parametrize("attend", [local_attention, atrous_attention])
def test_bfloat16_under_jit_and_vmap_keeps_its_dtype(attend):
    arrays = [np.stack([x, -x]).astype(jnp.bfloat16) for x in inputs(9, 9)]
    out = jax.jit(jax.vmap(functools.partial(attend, is_causal=True)))(*arrays)
    assert out.dtype == jnp.bfloat16
    assert np.isfinite(np.float32(out)).all()


def test_what_does_not_fit_is_refused_by_name():
    q, k, v = inputs(6, 6)
    with pytest.raises(ValueError, match="got -1 and None"):
        local_attention(q, k, v, radius=-1)
    with pytest.raises(ValueError, match="got 4 and 3"):
        local_attention(q, k, v, radius=4, block=3)
    with pytest.raises(ValueError, match="rate must be at least 1, got 0"):
        atrous_attention(q, k, v, rate=0)
    for attend in (local_attention, atrous_attention):
        with pytest.raises(ValueError, match="query, key, value"):
            attend(q, k[:, :2], v)
        with pytest.raises(ValueError, match="mask must be bool"):
            attend(q, k, v, np.ones((1, 1, 6, 6)))
