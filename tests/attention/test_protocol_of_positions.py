"""What every attention with positions of its own promises, each in turn."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention import deberta, rectified_rotary, shaw, transformer_xl
from kexue_jax.position.rotary import rotary


def tables(*shape):
    return np.sin(np.arange(np.prod(shape), dtype=np.float32)).reshape(shape)


def transformer_xl_attention(query, key, value, mask=None, **options):
    rows = tables(query.shape[1] + key.shape[1] - 1, 2, 4)
    return transformer_xl.transformer_xl_attention(
        query,
        key,
        value,
        mask,
        content_bias=tables(2, 4),
        position_bias=tables(2, 4),
        relative_key=rows,
        **options,
    )


TABLES = dict(relative_key=tables(6, 2, 4), relative_query=tables(6, 2, 4))
ATTENTIONS = {
    "shaw": functools.partial(
        shaw.shaw_attention, key_table=tables(5, 4), value_table=tables(5, 4)
    ),
    "transformer_xl": transformer_xl_attention,
    "deberta": functools.partial(deberta.deberta_attention, **TABLES),
    "released": functools.partial(deberta.deberta_attention_as_released, **TABLES),
    "rectified": functools.partial(
        rectified_rotary.rectified_rotary_attention, window=2, rotate=rotary
    ),
    "leaky": functools.partial(
        rectified_rotary.leaky_rectified_rotary_attention,
        window=2,
        factor=3.0,
        rotate=rotary,
    ),
}
every = pytest.mark.parametrize(
    "attend",
    [
        # What was released and what leaks are forms of others that are quick.
        pytest.param(
            attend, id=name, marks=[pytest.mark.slow] * (name in ("released", "leaky"))
        )
        for name, attend in ATTENTIONS.items()
    ],
)


def inputs(t=4, s=4):
    draws = np.random.default_rng(0)
    return [draws.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (t, s, s)]


@every
def test_a_query_without_keys_gets_zeros_and_zero_gradients(attend):
    mask = np.broadcast_to(np.arange(4)[:, None] != 1, (2, 1, 4, 4))

    @jax.jit
    def run(*arrays):
        out, pull = jax.vjp(lambda *x: attend(*x, mask), *arrays)
        at_empty = jnp.zeros_like(out).at[:, 1].set(1.0)
        return out, pull(at_empty), pull(jnp.ones_like(out))

    out, none, some = jax.device_get(run(*inputs()))
    assert not out[:, 1].any()
    assert out[:, 0].any()
    assert not any(g.any() for g in none)
    assert all(np.isfinite(g).all() for g in some)


@every
def test_causality_and_mask_are_both_honoured(attend):
    q, k, v = inputs()
    mask = np.random.default_rng(1).random((2, 2, 4, 4)) < 0.7
    causal = jax.jit(functools.partial(attend, is_causal=True))
    want = jax.jit(attend)(q, k, v, mask & np.tri(4, dtype=bool))
    np.testing.assert_allclose(causal(q, k, v, mask), want, rtol=1e-6)
    kept = np.ones((2, 2, 4, 4), bool)
    before = np.asarray(causal(q, k, v, kept))
    k[:, 2:] = v[:, 2:] = 50.0
    later = np.asarray(causal(q, k, v, kept))
    np.testing.assert_allclose(later[:, :2], before[:, :2], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@every
def test_jit_vmap_and_bfloat16_leave_it_what_it_is(attend):
    q, k, v = inputs()
    one = jax.jit(functools.partial(attend, is_causal=True))
    want = one(q, k, v)
    stacked = (np.stack([x, x + 1.0]) for x in (q, k, v))
    got = np.asarray(jax.jit(jax.vmap(one))(*stacked))
    np.testing.assert_allclose(got[0], want, rtol=1e-4, atol=1e-5)
    small = one(*(x.astype(jnp.bfloat16) for x in (q, k, v)))
    assert small.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(small), want, atol=5e-2, rtol=5e-2)


@every
def test_one_token_sees_itself(attend):
    q, k, v = inputs(1, 1)
    got = jax.jit(functools.partial(attend, is_causal=True))(q, k, v)
    shift = tables(5, 4)[2] if "shaw" in str(attend) else np.zeros(4)
    np.testing.assert_allclose(got, v + shift[None, None, None], rtol=1e-5)


@every
def test_the_last_query_stands_at_the_last_key(attend):
    q, k, v = inputs()
    if attend is transformer_xl_attention:
        pytest.skip("its rows depend on the lengths; see its own test")
    causal = jax.jit(functools.partial(attend, is_causal=True))
    want, got = np.asarray(causal(q, k, v)), causal(q[:, 2:], k, v)
    np.testing.assert_allclose(got, want[:, 2:], rtol=1e-5, atol=1e-6)


@every
def test_disagreeing_shapes_and_masks_are_refused(attend):
    q, k, v = inputs()
    with pytest.raises(ValueError, match="query, key, value"):
        jax.eval_shape(attend, q, k[:1], v)
    with pytest.raises(ValueError, match="mask must"):
        jax.eval_shape(attend, q, k, v, np.ones((4, 4), bool))
