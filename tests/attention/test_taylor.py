import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.taylor import taylor_attention

attend = jax.jit(taylor_attention, static_argnames=("is_causal", "order"))


def inputs(t=5, s=5, heads=2):
    shapes = ((2, t, heads, 4), (2, s, 2, 4), (2, s, 2, 4))
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(f, *arrays):
    out, pull = jax.vjp(f, *arrays)
    return out, pull(jnp.ones_like(out))


def kernel(query, key, order):
    """The polynomial of every score, ``[B, N, T, S]`` in float64."""
    query, key = (np.asarray(x, np.float64) for x in (query, key))
    key = np.repeat(key, query.shape[2] // key.shape[2], axis=2)
    scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
    return sum(scores**k / math.factorial(k) for k in range(order + 1))


def slow(query, key, value, mask, order):
    weights = kernel(query, key, order) * np.asarray(mask)
    total = weights.sum(-1, keepdims=True)
    weights = weights / np.where(total == 0.0, 1.0, total)
    value = np.repeat(value, query.shape[2] // value.shape[2], axis=2)
    return np.einsum("bnts,bsnv->btnv", weights, np.asarray(value, np.float64))


def features(x):
    """The 1 + H + H (H + 1) / 2 numbers whose products are the second polynomial."""
    x = np.asarray(x, np.float64)
    x = x / x.shape[-1] ** 0.25
    first, second = np.triu_indices(x.shape[-1], 1)
    parts = [np.ones((*x.shape[:-1], 1)), x, x[..., first] * x[..., second]]
    return np.concatenate([*parts, x**2 / np.sqrt(2.0)], axis=-1)


@pytest.mark.parametrize(("order", "heads"), [(2, 2), (4, 4), (6, 2)])
def test_masks_multiply_the_polynomial(order, heads):
    q, k, v = inputs(heads=heads)
    mask = np.random.default_rng(1).random((2, 1, 5, 5)) < 0.5
    got = attend(q, k, v, mask, order=order)
    want = slow(q, k, v, mask, order)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    got = attend(q, k, v, mask, order=order, is_causal=True)
    want = slow(q, k, v, mask & np.tri(5, dtype=bool), order)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("is_causal", [False, True])
def test_the_second_order_is_linear_attention_of_its_features(is_causal):
    q, k, v = inputs()
    left, right = features(q), features(k)
    exact = kernel(q, k, 2)
    np.testing.assert_allclose(
        np.einsum("btnf,bsnf->bnts", left, right), exact, rtol=1e-12, atol=1e-12
    )
    values = np.concatenate([np.asarray(v, np.float64), np.ones((2, 5, 2, 1))], -1)
    state = np.einsum("bsnf,bsnv->bsnfv", right, values)
    state = np.cumsum(state, 1) if is_causal else np.sum(state, 1, keepdims=True)
    state = np.broadcast_to(state, (2, 5, *state.shape[2:]))
    sums = np.einsum("btnf,btnfv->btnv", left, state)
    got = attend(q, k, v, is_causal=is_causal)
    np.testing.assert_allclose(
        got, sums[..., :-1] / sums[..., -1:], rtol=1e-5, atol=1e-6
    )


def test_the_rank_of_the_second_order_is_bounded_by_its_features():
    q, k, _ = inputs(t=40, s=40)
    rank = np.linalg.matrix_rank(kernel(q, k, 2)[0, 0], tol=1e-10)
    assert rank == 15 == features(q).shape[-1]
    values = np.eye(40, dtype=np.float32)[None, :, None]
    values = np.broadcast_to(values, (2, 40, 2, 40))
    weights = np.asarray(attend(q, k, values))[0, :, 0]
    assert np.linalg.matrix_rank(weights, tol=1e-4) <= 15
    assert np.linalg.matrix_rank(kernel(q, k, 4)[0, 0], tol=1e-10) > 15


def test_high_orders_are_softmax_attention():
    q, k, v = inputs()
    got = attend(q, k, v, order=12, is_causal=True)
    softmax = jax.jit(functools.partial(softmax_attention, is_causal=True))
    want = softmax(q, k, v)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def test_a_query_without_keys_gets_zeros_and_finite_gradients():
    mask = (np.arange(5) < np.array([[0], [5]]))[:, None, None]
    masked = functools.partial(attend, mask=mask)
    out, grads = jax.device_get(with_gradients(masked, *inputs()))
    assert not out[0].any()
    assert not any(g[0].any() for g in grads)
    assert all(np.isfinite(g).all() for g in grads)


def test_zero_queries_average_and_huge_ones_do_not_overflow():
    q, k, v = inputs()
    got = attend(np.zeros_like(q), k, v)
    want = np.broadcast_to(v.mean(axis=1, keepdims=True), got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    huge, (slope,) = with_gradients(lambda q: attend(1e15 * q, k, v, order=8), q)
    assert np.isfinite(huge).all()
    assert np.isfinite(slope).all()


def test_one_key_gives_its_value():
    q, k, v = inputs(t=1, s=1)
    np.testing.assert_allclose(attend(q, k, v), v, rtol=1e-6)


def test_bfloat16_under_jit_and_vmap_keeps_its_dtype():
    arrays = [np.stack([x, x]).astype(jnp.bfloat16) for x in inputs()]
    out = jax.jit(jax.vmap(taylor_attention))(*arrays)
    assert out.dtype == jnp.bfloat16
    want = attend(*(x[0].astype(np.float32) for x in arrays))
    np.testing.assert_allclose(np.float32(out)[0], want, rtol=3e-2, atol=3e-2)


def test_odd_orders_and_shapes_that_disagree_are_refused():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="even and at least 2, got 3"):
        attend(q, k, v, order=3)
    with pytest.raises(ValueError, match="query, key, value"):
        attend(q, k[:, :2], v)
    with pytest.raises(ValueError, match="mask must broadcast"):
        attend(q, k, v, np.ones((5, 5), bool))
