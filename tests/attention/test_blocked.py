import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.softmax import softmax_attention

small = functools.partial(
    jax.jit(
        blocked_attention, static_argnames=("is_causal", "query_block", "key_block")
    ),
    query_block=3,
    key_block=4,
)
dense_attention = jax.jit(softmax_attention, static_argnames="is_causal")


def inputs(t=7, s=7, heads=4, key_heads=2):
    draw = np.random.default_rng(0)
    shapes = ((2, t, heads, 4), (2, s, key_heads, 4), (2, s, key_heads, 3))
    return [draw.normal(size=shape).astype(np.float32) for shape in shapes]


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(attention, arrays, change=None):
    out, pull = jax.vjp(attention, *arrays)
    return out, *pull(jnp.ones_like(out) if change is None else change)


def assert_same(arrays, blocked, dense):
    out = jax.eval_shape(dense, *arrays)
    change = np.random.default_rng(1).normal(size=out.shape).astype(np.float32)
    got = value_and_gradients(blocked, arrays, change)
    want = value_and_gradients(dense, arrays, change)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=2e-6)


def slow(query, key, value):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    group = query.shape[2] // key.shape[2]
    key, value = (np.repeat(x, group, axis=2) for x in (key, value))
    scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
    power = np.exp(scores)
    weights = power / power.sum(-1, keepdims=True)
    return np.einsum("bnts,bsnv->btnv", weights, value)


def test_is_the_softmax_of_all_scores_in_float64():
    q, k, v = inputs(t=5, s=9)
    np.testing.assert_allclose(small(q, k, v), slow(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("t", "s", "is_causal"),
    [(7, 7, False), (7, 7, True), (8, 3, True), (2, 9, True), (1, 1, False)],
)
def test_values_and_gradients_are_those_of_dense_attention(t, s, is_causal):
    arrays = inputs(t, s)
    blocked = functools.partial(small, is_causal=is_causal)
    dense = functools.partial(softmax_attention, is_causal=is_causal)
    assert_same(arrays, blocked, dense)


@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (1, 4, 7, 7), (2, 4, 7, 1)])
def test_masks_and_biases_of_any_shape_are_those_of_dense_attention(shape):
    draw = np.random.default_rng(2)
    arrays = [*inputs(), draw.normal(size=shape).astype(np.float32)]
    mask = draw.random(shape) < 0.6

    def attend(f, q, k, v, bias):
        return f(q, k, v, mask, bias=bias, is_causal=True)

    blocked, dense = (functools.partial(attend, f) for f in (small, softmax_attention))
    assert_same(arrays, blocked, dense)


def test_a_scale_of_each_query_gets_its_gradient():
    scale = np.random.default_rng(2).random((1, 4, 7, 1)).astype(np.float32)

    def attend(f, q, k, v, scale):
        return f(q, k, v, scale=scale)

    blocked, dense = (functools.partial(attend, f) for f in (small, softmax_attention))
    assert_same([*inputs(), scale], blocked, dense)


def test_the_result_does_not_depend_on_the_blocks():
    q, k, v = inputs(t=13, s=13)
    want = jax.jit(functools.partial(blocked_attention, is_causal=True))(q, k, v)
    for sizes in ((1, 1), (5, 13), (64, 64)):
        options = dict(query_block=sizes[0], key_block=sizes[1], is_causal=True)
        got = small(q, k, v, **options)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_scores_that_grow_from_block_to_block_stay_exact():
    q, k, v = inputs(t=8, s=8)
    ramp = np.linspace(-300.0, 300.0, 8, dtype=np.float32)[None, None, None]
    for bias in (ramp, ramp[..., ::-1]):
        got = small(q, k, v, bias=bias)
        want = dense_attention(q, k, v, bias=bias)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_queries_without_keys_give_zeros_and_no_gradients():
    q, k, v = inputs()
    attend = functools.partial(small, mask=np.zeros((1, 1, 1, 1), bool))
    nothing = value_and_gradients(attend, (q, k, v))
    assert not any(np.asarray(x).any() for x in nothing)
    mask = (np.arange(7) < np.array([[0], [5]]))[:, None, None]
    attend = functools.partial(small, mask=mask)
    out, *grads = jax.device_get(value_and_gradients(attend, (q, k, v)))
    assert not out[0].any()
    assert out[1].all()
    assert not any(g[0].any() for g in grads)
    assert not any(g[:, 5:].any() for g in grads[1:])
    assert all(np.isfinite(g).all() for g in grads)


def test_no_keys_at_all_give_zeros():
    q, k, v = inputs(s=0)
    assert not np.asarray(small(q, k, v)).any()


def test_equal_keys_give_the_mean_of_the_visible_values():
    q, k, v = inputs()
    got = small(q, np.zeros_like(k), v, is_causal=True)
    count = np.arange(1.0, 8.0)[None, :, None, None]
    want = np.repeat(np.cumsum(v, axis=1) / count, 2, axis=2)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_nothing_leaks_from_the_future():
    q, k, v = inputs()
    want = np.asarray(small(q, k, v, is_causal=True))
    k[:, 4:] = v[:, 4:] = 1e4
    got = np.asarray(small(q, k, v, is_causal=True))
    np.testing.assert_array_equal(got[:, :4], want[:, :4])


def test_bfloat16_stays_near_float32_and_keeps_its_dtype():
    arrays = inputs()
    narrow = [x.astype(jnp.bfloat16) for x in arrays]
    attend = functools.partial(small, is_causal=True)
    got, *grads = value_and_gradients(attend, narrow)
    assert got.dtype == jnp.bfloat16
    assert {g.dtype for g in grads} == {jnp.dtype(jnp.bfloat16)}
    want = dense_attention(*arrays, is_causal=True)
    np.testing.assert_allclose(np.float32(got), want, rtol=3e-2, atol=3e-2)


def test_further_axes_come_by_vmap_also_of_gradients():
    stacked = [np.stack([x, -x, x / 2]) for x in inputs()]

    def grads(f, *arrays):
        return jax.grad(lambda *x: jnp.sum(f(*x, is_causal=True) ** 2), (0, 1, 2))(
            *arrays
        )

    got = jax.jit(jax.vmap(functools.partial(grads, small)))(*stacked)
    want = jax.jit(jax.vmap(functools.partial(grads, softmax_attention)))(*stacked)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


def test_no_array_of_the_compiled_gradient_is_as_large_as_the_scores():
    length, block = 2048, 256
    one = jax.ShapeDtypeStruct((1, length, 1, 8), jnp.float32)

    def loss(q, k, v):
        options = dict(query_block=block, key_block=block, is_causal=True)
        return jnp.sum(blocked_attention(q, k, v, **options) ** 2)

    compiled = jax.jit(jax.grad(loss, (0, 1, 2))).lower(one, one, one).compile()
    used = compiled.memory_analysis().temp_size_in_bytes
    assert used < 16 * 4 * length * 8 + 8 * 4 * block**2 < 4 * length**2 / 4


def test_what_does_not_fit_is_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="query, key, value"):
        small(q, k[:, :3], v)
    with pytest.raises(ValueError, match="mask must broadcast"):
        small(q, k, v, np.ones((1, 1, 7, 6), bool))
    with pytest.raises(ValueError, match="bias must broadcast"):
        small(q, k, v, bias=np.ones((7, 7)))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        blocked_attention(q, k, v, query_block=0)
