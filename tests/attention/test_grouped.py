from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.grouped import grouped_attention
from kexue_jax.attention.linear import linear_attention
from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.position.rotary import rotary


def inputs(shared):
    shapes = ((2, 5, 4, 8), (2, 5, shared, 8), (2, 5, shared, 3))
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("shared", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_is_what_softmax_attention_does_by_itself_in_value_and_gradient(shared):
    arrays = inputs(shared)

    def run(attend):
        out, pull = jax.vjp(partial(attend, is_causal=True), *arrays)
        return out, *pull(jnp.cos(out))

    grouped = partial(grouped_attention, attention=softmax_attention)
    found, wanted = (jax.jit(partial(run, f))() for f in (grouped, softmax_attention))
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_each_head_of_queries_sees_the_keys_of_its_group():
    query, key, value = inputs(2)
    grouped = partial(grouped_attention, attention=linear_attention)
    got = np.asarray(jax.jit(grouped)(query, key, value))
    for head in range(4):
        own = (slice(None), slice(None), slice(head, head + 1))
        shared = (slice(None), slice(None), slice(head // 2, head // 2 + 1))
        want = jax.jit(linear_attention)(query[own], key[shared], value[shared])
        np.testing.assert_allclose(got[own], want, rtol=1e-5, atol=1e-6)


def test_what_the_inner_function_cannot_take_is_refused_by_its_name():
    shaw = partial(grouped_attention, attention=shaw_attention)
    make = partial(SelfAttention, 8, heads=2, head_size=4, key_heads=1)
    with pytest.raises(ValueError, match="rotary does not go with shaw_attention"):
        make(attention=shaw, position=rotary, rngs=nnx.Rngs(0))


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="K must divide N"):
        grouped_attention(*inputs(3), attention=softmax_attention)
