import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.efficient import efficient_attention
from kexue_jax.attention.feature_maps import exp_features
from kexue_jax.attention.linear import linear_attention

compiled = jax.jit(efficient_attention, static_argnames="is_causal")


def inputs(t=37, s=37):
    shapes = ((2, t, 2, 4), (2, s, 2, 4), (2, s, 2, 3))
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


def slow(query, key, value, keep, is_causal=False):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, length, heads, _ = query.shape
    keep = np.broadcast_to(keep, (batch, heads, length, key.shape[1]))
    if is_causal:
        keep = keep & np.tri(length, key.shape[1], key.shape[1] - length, dtype=bool)
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, t, n in np.ndindex(batch, length, heads):
        kept = np.flatnonzero(keep[b, n, t])
        if kept.size:
            rho = np.exp(query[b, t, n])
            power = np.exp(key[b, kept, n])
            weights = power / power.sum(0) @ (rho / rho.sum())
            out[b, t, n] = weights @ value[b, kept, n]
    return out


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize(("t", "s"), [(37, 37), (3, 20), (20, 3), (1, 1)])
def test_is_the_mixture_of_averages_of_every_feature(is_causal, t, s):
    q, k, v = inputs(t, s)
    mask = np.random.default_rng(1).random((2, 1, 1, s)) < 0.7
    got = compiled(q, k, v, mask, is_causal=is_causal)
    want = slow(q, k, v, mask, is_causal)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_is_not_linear_attention_with_exp_features():
    q, k, v = inputs()
    other = jax.jit(functools.partial(linear_attention, feature_map=exp_features))
    ours, theirs = np.asarray(compiled(q, k, v)), np.asarray(other(q, k, v))
    assert np.abs(ours - theirs).max() > 0.01


@pytest.mark.parametrize("is_causal", [False, True])
def test_weights_are_not_negative_and_sum_to_one(is_causal):
    q, k, _ = inputs()
    each = np.eye(37, dtype=np.float32)[None, :, None]
    each = np.broadcast_to(each, (2, 37, 2, 37))
    weights = np.asarray(compiled(q, k, each, is_causal=is_causal))
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


def test_a_large_last_key_changes_nothing_before_it():
    q, k, v = inputs()
    before = np.asarray(compiled(q, k, v, is_causal=True))
    for size in (3.0, 10.0, 100.0, 1e4):
        times = np.where(np.arange(37) == 36, np.float32(size), 1)[:, None, None]
        after = np.asarray(compiled(q, k * times, v, is_causal=True))
        np.testing.assert_array_equal(after[:, :-1], before[:, :-1])
        assert np.isfinite(after).all()


@pytest.mark.slow
def test_causal_gradients_are_those_of_the_dense_form_with_a_mask():
    q, k, v = inputs(19, 19)
    mask = np.ones((2, 1, 1, 19), bool)
    mask[0, ..., :2] = False

    def dense(query, key, value):
        seen = jnp.tri(19, dtype=bool)[None, :, :, None, None]
        seen = seen & mask[:, 0, :, :, None, None]
        power = jnp.where(seen, jnp.exp(key)[:, None], 0.0)
        total = power.sum(2, keepdims=True)
        power = power / jnp.where(total == 0, 1, total)
        weights = jnp.sum(power * jax.nn.softmax(query)[:, :, None], -1)
        return jnp.sum(jnp.einsum("btsn,bsnv->btnv", weights, value) ** 2)

    def fast(query, key, value):
        out = efficient_attention(query, key, value, mask, is_causal=True)
        return jnp.sum(out**2)

    got, want = (jax.jit(jax.grad(f, (0, 1, 2)))(q, k, v) for f in (fast, dense))
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("is_causal", [False, True])
def test_a_query_without_keys_gets_zeros_and_zero_gradients(is_causal):
    nothing = np.zeros((1, 1, 1, 20), bool)
    attend = functools.partial(efficient_attention, mask=nothing, is_causal=is_causal)

    @jax.jit
    def with_gradients(*arrays):
        out, pull = jax.vjp(attend, *arrays)
        return out, *pull(jnp.ones_like(out))

    assert not any(np.asarray(x).any() for x in with_gradients(*inputs(20, 20)))


def test_bfloat16_keeps_its_dtype_under_vmap_and_stays_near_float32():
    q, k, v = (x.astype(jnp.bfloat16) for x in inputs())
    for is_causal in (False, True):
        attend = functools.partial(efficient_attention, is_causal=is_causal)
        got = jax.jit(jax.vmap(attend))(*(x[None] for x in (q, k, v)))
        got = np.asarray(got)[0]
        assert got.dtype == jnp.bfloat16
        wide = (x.astype(np.float32) for x in (q, k, v))
        want = compiled(*wide, is_causal=is_causal)
        np.testing.assert_allclose(np.float32(got), want, rtol=1e-2, atol=1e-2)


def test_a_mask_that_tells_queries_apart_is_refused():
    q, k, v = inputs(3, 5)
    with pytest.raises(ValueError, match="averages the keys before it sees a query"):
        efficient_attention(q, k, v, np.ones((1, 1, 3, 5), bool))
    with pytest.raises(ValueError, match="query, key, value"):
        efficient_attention(q, k, v[:, :3])
