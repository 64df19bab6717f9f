import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.masks import length_mask
from kexue_jax.attention.softmax import softmax_attention

small = functools.partial(
    jax.jit(
        blocked_attention, static_argnames=("is_causal", "query_block", "key_block")
    ),
    query_block=3,
    key_block=4,
)
dense_attention = jax.jit(softmax_attention, static_argnames="is_causal")


def inputs(keys, t=7, s=7, heads=4, key_heads=2):
    shapes = ((2, t, heads, 4), (2, s, key_heads, 4), (2, s, key_heads, 3))
    return [jax.random.normal(next(keys), shape) for shape in shapes]


def value_and_gradients(attention, arrays, change):
    def run(*arrays):
        out, pull = jax.vjp(attention, *arrays)
        return out, *pull(change)

    return jax.jit(run)(*arrays)


def assert_same(keys, arrays, blocked, dense):
    out = jax.eval_shape(dense, *arrays)
    change = jax.random.normal(next(keys), out.shape)
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


def test_is_the_softmax_of_all_scores_in_float64(keys):
    q, k, v = inputs(keys, t=5, s=9)
    np.testing.assert_allclose(small(q, k, v), slow(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("t", "s", "is_causal"),
    [(7, 7, False), (7, 7, True), (8, 3, True), (2, 9, True), (1, 1, False)],
)
def test_values_and_gradients_are_those_of_dense_attention(keys, t, s, is_causal):
    arrays = inputs(keys, t, s)
    blocked = functools.partial(small, is_causal=is_causal)
    dense = functools.partial(softmax_attention, is_causal=is_causal)
    assert_same(keys, arrays, blocked, dense)


@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (1, 4, 7, 7), (2, 4, 7, 1)])
def test_masks_and_biases_of_any_shape_are_those_of_dense_attention(keys, shape):
    arrays = [*inputs(keys), jax.random.normal(next(keys), shape)]
    mask = jax.random.bernoulli(next(keys), 0.6, shape)

    def attend(f, q, k, v, bias):
        return f(q, k, v, mask, bias=bias, is_causal=True)

    blocked, dense = (functools.partial(attend, f) for f in (small, softmax_attention))
    assert_same(keys, arrays, blocked, dense)


def test_a_scale_of_each_query_gets_its_gradient(keys):
    scale = jax.random.uniform(next(keys), (1, 4, 7, 1))

    def attend(f, q, k, v, scale):
        return f(q, k, v, scale=scale)

    blocked, dense = (functools.partial(attend, f) for f in (small, softmax_attention))
    assert_same(keys, [*inputs(keys), scale], blocked, dense)


def test_the_result_does_not_depend_on_the_blocks(keys):
    q, k, v = inputs(keys, t=13, s=13)
    want = blocked_attention(q, k, v, is_causal=True)
    for sizes in ((1, 1), (5, 13), (64, 64)):
        options = dict(query_block=sizes[0], key_block=sizes[1], is_causal=True)
        got = blocked_attention(q, k, v, **options)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_scores_that_grow_from_block_to_block_stay_exact(keys):
    q, k, v = inputs(keys, t=8, s=8)
    ramp = jnp.linspace(-300.0, 300.0, 8)[None, None, None]
    for bias in (ramp, ramp[..., ::-1]):
        got = small(q, k, v, bias=bias)
        want = dense_attention(q, k, v, bias=bias)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_queries_without_keys_give_zeros_and_no_gradients(keys):
    q, k, v = inputs(keys)
    out, pull = jax.vjp(lambda *x: small(*x, jnp.zeros((1, 1, 1, 1), bool)), q, k, v)
    assert not out.any()
    assert not any(g.any() for g in pull(jnp.ones_like(out)))
    mask = length_mask(jnp.array([0, 5]), 7)
    out, pull = jax.vjp(lambda *x: small(*x, mask), q, k, v)
    assert not out[0].any()
    assert out[1].all()
    grads = pull(jnp.ones_like(out))
    assert not any(g[0].any() for g in grads)
    assert not any(g[:, 5:].any() for g in grads[1:])
    assert all(jnp.isfinite(g).all() for g in grads)


def test_no_keys_at_all_give_zeros(keys):
    q, k, v = inputs(keys, s=0)
    assert not small(q, k, v).any()


def test_equal_keys_give_the_mean_of_the_visible_values(keys):
    q, k, v = inputs(keys)
    got = small(q, jnp.zeros_like(k), v, is_causal=True)
    count = jnp.arange(1.0, 8.0)[None, :, None, None]
    want = jnp.repeat(jnp.cumsum(v, axis=1) / count, 2, axis=2)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_nothing_leaks_from_the_future(keys):
    q, k, v = inputs(keys)
    loud = [x.at[:, 4:].set(1e4) for x in (k, v)]
    got = small(q, *loud, is_causal=True)[:, :4]
    np.testing.assert_array_equal(got, small(q, k, v, is_causal=True)[:, :4])


def test_bfloat16_stays_near_float32_and_keeps_its_dtype(keys):
    arrays = inputs(keys)
    narrow = [x.astype(jnp.bfloat16) for x in arrays]
    got, pull = jax.vjp(functools.partial(small, is_causal=True), *narrow)
    assert got.dtype == jnp.bfloat16
    assert {g.dtype for g in pull(got)} == {jnp.dtype(jnp.bfloat16)}
    want = dense_attention(*arrays, is_causal=True)
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=3e-2, atol=3e-2)


def test_further_axes_come_by_vmap_also_of_gradients(keys):
    stacked = [jnp.stack([x, -x, x / 2]) for x in inputs(keys)]

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


def test_what_does_not_fit_is_refused_by_name(keys):
    q, k, v = inputs(keys)
    with pytest.raises(ValueError, match="query, key, value"):
        small(q, k[:, :3], v)
    with pytest.raises(ValueError, match="mask must broadcast"):
        small(q, k, v, jnp.ones((1, 1, 7, 6), bool))
    with pytest.raises(ValueError, match="bias must broadcast"):
        small(q, k, v, bias=jnp.ones((7, 7)))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        blocked_attention(q, k, v, query_block=0)
