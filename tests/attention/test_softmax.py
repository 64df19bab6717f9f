import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.masks import causal_mask
from kexue_jax.attention.softmax import softmax_attention


def inputs(keys, t=3, s=5):
    return [jax.random.normal(next(keys), (2, n, 2, 4)) for n in (t, s, s)]


def slow(query, key, value, mask):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, length, heads, size = query.shape
    mask = np.broadcast_to(mask, (batch, heads, length, key.shape[1]))
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, t, n in np.ndindex(batch, length, heads):
        kept = np.flatnonzero(mask[b, n, t])
        if kept.size:
            power = np.exp(key[b, kept, n] @ query[b, t, n] / np.sqrt(size))
            out[b, t, n] = power / power.sum() @ value[b, kept, n]
    return out


def test_is_the_average_of_visible_values(keys):
    q, k, v = inputs(keys)
    mask = jax.random.bernoulli(next(keys), 0.5, (2, 1, 3, 5))
    got = softmax_attention(q, k, v, mask)
    want = slow(q, k, v, np.asarray(mask))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_without_a_mask_is_the_attention_of_jax(keys):
    q, k, v = inputs(keys)
    want = jax.nn.dot_product_attention(q, k, v)
    np.testing.assert_allclose(softmax_attention(q, k, v), want, rtol=1e-5, atol=1e-6)


def test_a_query_without_keys_gets_zeros_and_finite_gradients(keys):
    nothing = jnp.zeros((1, 1, 1, 1), bool)
    out, pull = jax.vjp(lambda *x: softmax_attention(*x, nothing), *inputs(keys))
    assert not out.any()
    assert not any(g.any() for g in pull(jnp.ones_like(out)))


def test_one_visible_key_gives_its_value(keys):
    q, k, v = inputs(keys, t=1, s=1)
    np.testing.assert_allclose(softmax_attention(q, k, v), v, rtol=1e-6)


def test_a_scale_of_zero_is_the_plain_average(keys):
    q, k, v = inputs(keys)
    got = softmax_attention(q, k, v, scale=0.0)
    want = jnp.broadcast_to(v.mean(axis=1, keepdims=True), got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_bfloat16_stays_near_float32_and_keeps_its_dtype(keys):
    q, k, v = inputs(keys)
    got = softmax_attention(*(x.astype(jnp.bfloat16) for x in (q, k, v)))
    assert got.dtype == jnp.bfloat16
    want = softmax_attention(q, k, v)
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=3e-2, atol=3e-2)


def test_values_may_have_another_size(keys):
    q, k, v = inputs(keys)
    assert softmax_attention(q, k, v[..., :3]).shape == (2, 3, 2, 3)


def test_disagreeing_shapes_are_refused_by_name(keys):
    q, k, v = inputs(keys)
    with pytest.raises(ValueError, match=r"\(2, 4, 2, 4\)"):
        softmax_attention(q, k, v[:, :4])
    with pytest.raises(ValueError, match="query, key, value"):
        softmax_attention(q[:1], k, v)


def test_a_causal_mask_is_lower_triangular_and_aligned_at_the_end():
    np.testing.assert_array_equal(causal_mask(4, 4)[0, 0], np.tri(4, dtype=bool))
    np.testing.assert_array_equal(causal_mask(2, 5)[0, 0], np.tri(5, dtype=bool)[3:])
    assert not causal_mask(3, 2)[0, 0, 0].any()
