import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.block_sparse import block_sparse_attention
from kexue_jax.attention.masks import block_sparse_mask
from kexue_jax.attention.softmax import softmax_attention

BLOCK = 3


def inputs(t, s, heads=2):
    shapes = ((2, t, 4, 4), (2, s, heads, 4), (2, s, heads, 3))
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


def drawn(t, s, share=0.5):
    generator = np.random.default_rng(0)
    layout = generator.random((-(-t // BLOCK), -(-s // BLOCK))) < share
    layout[0] = True  # sees everything
    layout[-1] = False  # sees nothing
    return layout


def slow(query, key, value, seen, is_causal):
    """The dense matrix of weights, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    key, value = (np.repeat(x, query.shape[2] // x.shape[2], 2) for x in (key, value))
    t, s = query.shape[1], key.shape[1]
    scores = np.einsum("btnh,bsnh->bnts", query, key) / np.sqrt(query.shape[-1])
    seen = seen & np.tri(t, s, s - t, dtype=bool) if is_causal else seen
    power = np.exp(scores) * seen
    total = power.sum(-1, keepdims=True)
    weights = power / np.where(total == 0.0, 1.0, total)
    return np.einsum("bnts,bsnv->btnv", weights, value)


@pytest.mark.parametrize(
    ("t", "s", "is_causal"),
    [
        (20, 20, True),
        (20, 20, False),
        pytest.param(7, 18, True, marks=pytest.mark.slow),
        pytest.param(18, 7, False, marks=pytest.mark.slow),
        pytest.param(18, 7, True, marks=pytest.mark.slow),
        pytest.param(1, 1, True, marks=pytest.mark.slow),
    ],
)
def test_is_the_average_over_the_kept_blocks(t, s, is_causal):
    arrays, layout = inputs(t, s), drawn(t, s)
    mask = (np.arange(s) < np.array([[s], [max(s - 4, 1)]]))[:, None, None]
    how = dict(layout=layout, block=BLOCK, is_causal=is_causal)
    got = jax.jit(functools.partial(block_sparse_attention, **how))(*arrays, mask)
    dense = np.kron(layout, np.ones((BLOCK, BLOCK), bool))[:t, :s]
    want = slow(*arrays, mask & dense, is_causal)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_dense_attention_also_by_a_mask_of_pairs():
    arrays, layout = inputs(14, 14), drawn(14, 14)
    mask = np.random.default_rng(1).random((1, 4, 14, 14)) < 0.7
    dense = np.kron(layout, np.ones((BLOCK, BLOCK), bool))[:14, :14]
    sparse = functools.partial(block_sparse_attention, layout=layout, block=BLOCK)

    def run(attend, mask):
        out, pull = jax.vjp(lambda *x: attend(*x, mask), *arrays)
        return out, *pull(jnp.cos(out))

    got = jax.jit(functools.partial(run, sparse))(mask)
    want = jax.jit(functools.partial(run, softmax_attention))(mask & dense)
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)
    assert not np.asarray(got[0])[
        :, 12:
    ].any()  # the last row of the layout keeps nothing


def test_work_goes_by_the_blocks_that_are_kept():
    block, blocks = 8, 64
    one = jax.ShapeDtypeStruct((1, block * blocks, 1, 8), jnp.float32)

    def flops(layout):
        attend = functools.partial(block_sparse_attention, layout=layout, block=block)
        cost = jax.jit(attend).lower(one, one, one).compile().cost_analysis()
        return cost["flops"]

    draw = jax.jit(functools.partial(block_sparse_mask, blocks, block=1))
    near = np.asarray(draw(jax.random.key(0)))[0, 0]
    assert near.sum() < 0.2 * near.size
    # 3 near, 2 global and 3 drawn blocks; the two global ones see all.
    assert flops(near) < 0.25 * flops(np.ones((blocks, blocks), bool))


def test_bfloat16_keeps_its_dtype_under_vmap_and_stays_near_float32():
    arrays, layout = inputs(12, 12), drawn(12, 12)
    attend = functools.partial(block_sparse_attention, layout=layout, block=BLOCK)
    half = [x.astype(jnp.bfloat16)[None] for x in arrays]
    got = np.asarray(jax.jit(jax.vmap(attend))(*half))[0]
    assert got.dtype == jnp.bfloat16
    want = jax.jit(attend)(*arrays)
    np.testing.assert_allclose(np.float32(got), want, rtol=3e-2, atol=3e-2)


def test_what_cannot_be_honoured_is_refused_by_name():
    arrays, layout = inputs(12, 12), drawn(12, 12)
    with pytest.raises(ValueError, match=r"layout must be bool \(4, 4\).*\(4, 3\)"):
        block_sparse_attention(*arrays, layout=layout[:, :3], block=BLOCK)
    with pytest.raises(ValueError, match=r"layout must be bool .* float64"):
        block_sparse_attention(*arrays, layout=np.ones((4, 4)), block=BLOCK)
    with pytest.raises(ValueError, match=r"must be a numpy array, got .*Tracer"):
        jax.jit(lambda x: block_sparse_attention(*arrays, layout=x))(layout)
    with pytest.raises(ValueError, match="block must be positive, got 0"):
        block_sparse_attention(*arrays, layout=layout, block=0)
