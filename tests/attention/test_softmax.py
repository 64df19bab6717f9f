import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.masks import length_mask, local_mask, padding_mask
from kexue_jax.attention.softmax import softmax_attention

attend = jax.jit(softmax_attention, static_argnames="is_causal")
jax_attend = jax.jit(
    jax.nn.dot_product_attention, static_argnames=("is_causal", "local_window_size")
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def drawn(share, shape):
    """A mask that keeps this share of the places."""
    return np.random.default_rng(1).random(shape) < share


def inputs(t=3, s=5, heads=2, key_heads=2):
    return [
        normal(2, t, heads, 4, seed=2),
        normal(2, s, key_heads, 4, seed=3),
        normal(2, s, key_heads, 4, seed=4),
    ]


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(f, *arrays):
    out, pull = jax.vjp(f, *arrays)
    return out, *pull(jnp.ones_like(out))


def slow(query, key, value, mask=True, bias=0.0):
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, length, heads, size = query.shape
    group = heads // key.shape[2]
    shape = (batch, heads, length, key.shape[1])
    mask, bias = np.broadcast_to(mask, shape), np.broadcast_to(bias, shape)
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, t, n in np.ndindex(batch, length, heads):
        kept = np.flatnonzero(mask[b, n, t])
        if kept.size:
            scores = key[b, kept, n // group] @ query[b, t, n] / np.sqrt(size)
            power = np.exp(scores + bias[b, n, t, kept])
            out[b, t, n] = power / power.sum() @ value[b, kept, n // group]
    return out


def test_is_the_average_of_visible_values():
    q, k, v = inputs()
    mask = drawn(0.5, (2, 1, 3, 5))
    got = attend(q, k, v, mask)
    want = slow(q, k, v, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_neighbouring_heads_share_keys_and_biases_are_added(key_heads):
    q, k, v = inputs(heads=4, key_heads=key_heads)
    bias, mask = normal(1, 4, 3, 5), drawn(0.7, (2, 4, 3, 5))
    got = attend(q, k, v, mask, bias=bias)
    want = slow(q, k, v, mask, bias)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("key_heads", "is_causal"), [(1, False), (2, True), (4, False), (4, True)]
)
def test_is_the_attention_of_jax_where_every_query_sees_a_key(key_heads, is_causal):
    q, k, v = inputs(t=5, heads=4, key_heads=key_heads)
    bias, mask = normal(2, 1, 5, 5), drawn(0.5, (1, 4, 5, 5)) | np.eye(5, dtype=bool)
    options = dict(bias=bias, is_causal=is_causal, scale=0.3)

    def ours(*x):
        return attend(*x, mask, **options)

    def theirs(*x):
        with jax.numpy_rank_promotion("allow"):
            return jax_attend(*x, mask=mask, **options)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(f, change):
        out, pull = jax.vjp(f, q, k, v)
        return out, *pull(change)

    change = normal(*q.shape)
    got, want = (value_and_gradients(f, change) for f in (ours, theirs))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_lengths_are_masks_and_mean_what_they_mean_in_jax():
    q, k, v = inputs(t=5)
    lengths, longest = np.array([2, 5], np.int32), np.array([4, 3], np.int32)
    want = jax_attend(q, k, v, key_value_seq_lengths=lengths)
    of_lengths = jax.jit(length_mask, static_argnames="size")
    got = attend(q, k, v, of_lengths(lengths, 5))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    both = dict(query_seq_lengths=longest, key_value_seq_lengths=lengths)
    with jax.numpy_rank_promotion("allow"):
        want = jax_attend(q, k, v, **both)
    kept = [np.asarray(of_lengths(x, 5))[:, 0, 0] for x in (longest, lengths)]
    got = attend(q, k, v, jax.jit(padding_mask)(*kept))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_local_mask_is_the_local_window_of_jax():
    q, k, v = inputs(t=7, s=7)
    with jax.numpy_rank_promotion("allow"):
        want = jax_attend(q, k, v, local_window_size=2)
    got = attend(q, k, v, jax.jit(lambda: local_mask(7, 7, radius=2))())
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_query_without_keys_gets_zeros_and_finite_gradients():
    nothing = np.zeros((1, 1, 1, 1), bool)
    found = with_gradients(functools.partial(attend, mask=nothing), *inputs())
    assert not any(np.asarray(x).any() for x in found)


def test_more_queries_than_keys_leave_the_first_queries_without_keys():
    q, k, v = inputs(t=5, s=3)
    out = np.asarray(attend(q, k, v, is_causal=True))
    assert not out[:, :2].any()
    np.testing.assert_allclose(out[:, 2], v[:, 0], rtol=1e-6)


def test_new_queries_after_known_keys_are_the_last_rows_of_the_whole():
    q, k, v = inputs(t=5, s=5)
    whole = np.asarray(attend(q, k, v, is_causal=True))
    last = attend(q[:, 3:], k, v, is_causal=True)
    np.testing.assert_allclose(last, whole[:, 3:], rtol=1e-6)


def test_no_keys_at_all_give_zeros():
    q, k, v = inputs(s=0)
    found = with_gradients(lambda q: attend(q, k, v), q)
    assert not any(np.asarray(x).any() for x in found)


def test_one_visible_key_gives_its_value():
    q, k, v = inputs(t=1, s=1)
    np.testing.assert_allclose(attend(q, k, v), v, rtol=1e-6)


def test_a_scale_of_zero_is_the_plain_average():
    q, k, v = inputs()
    got = attend(q, k, v, scale=0.0)
    want = np.broadcast_to(v.mean(axis=1, keepdims=True), got.shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_scale_per_query_is_that_of_scaled_queries():
    q, k, v = inputs()
    scale = np.random.default_rng(0).random((2, 1, 3, 1)).astype(np.float32)
    got = attend(q, k, v, scale=scale)
    want = attend(q * scale.transpose(0, 2, 1, 3), k, v, scale=1.0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_bfloat16_stays_near_float32_and_keeps_its_dtype():
    q, k, v = inputs()
    small = [x.astype(jnp.bfloat16) for x in (q, k, v)]
    got, *grads = with_gradients(attend, *small)
    assert got.dtype == jnp.bfloat16
    assert {g.dtype for g in grads} == {jnp.dtype(jnp.bfloat16)}
    want = attend(q, k, v)
    np.testing.assert_allclose(np.float32(got), want, rtol=3e-2, atol=3e-2)


def test_values_may_have_another_size():
    q, k, v = inputs()
    assert attend(q, k, v[..., :3]).shape == (2, 3, 2, 3)


def test_further_axes_come_by_vmap_under_jit():
    q, k, v = (np.stack([x, -x]) for x in inputs())
    got = np.asarray(jax.jit(jax.vmap(attend))(q, k, v))
    want = attend(q[1], k[1], v[1])
    np.testing.assert_allclose(got[1], want, rtol=1e-6)


def test_disagreeing_shapes_are_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match=r"\(2, 4, 2, 4\)"):
        softmax_attention(q, k, v[:, :4])
    with pytest.raises(ValueError, match="query, key, value"):
        softmax_attention(q[:1], k, v)
    with pytest.raises(ValueError, match="K must divide N"):
        softmax_attention(q, *(np.tile(x, (1, 1, 2, 1)) for x in (k, v)))


def test_masks_and_biases_that_do_not_fit_are_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match=r"mask must broadcast to \(2, 2, 3, 5\)"):
        softmax_attention(q, k, v, np.ones((3, 5), bool))
    with pytest.raises(ValueError, match="mask must be bool"):
        softmax_attention(q, k, v, np.ones((1, 1, 3, 5)))
    with pytest.raises(ValueError, match=r"bias must broadcast .* \(1, 3, 3, 5\)"):
        softmax_attention(q, k, v, bias=np.ones((1, 3, 3, 5)))
