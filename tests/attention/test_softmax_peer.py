"""Softmax attention, dense and blocked, beside torch's scaled dot products."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.softmax import softmax_attention

pytestmark = pytest.mark.peer
OURS = {
    "dense": softmax_attention,
    "blocked": functools.partial(blocked_attention, query_block=3, key_block=4),
}


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def inputs(keys, t=7, s=7, heads=4, key_heads=4):
    """Query, key, value and a change of the output, ``[B, T, N, H]``."""
    shapes = ((2, t, heads, 8), (2, s, key_heads, 8), (2, s, key_heads, 8))
    return [jax.random.normal(next(keys), shape) for shape in (*shapes, shapes[0])]


def theirs(torch, arrays, **options):
    """Their output and its gradients, in the layout of ours."""
    *leaves, change = (
        torch.from_numpy(np.asarray(x).transpose(0, 2, 1, 3).copy()) for x in arrays
    )
    leaves = [x.requires_grad_() for x in leaves]
    output = torch.nn.functional.scaled_dot_product_attention(*leaves, **options)
    grads = torch.autograd.grad(output, leaves, change)
    return [x.detach().numpy().transpose(0, 2, 1, 3) for x in (output, *grads)]


def assert_same(attend, arrays, want):
    *arrays, change = arrays

    @jax.jit
    def run(*arrays):
        output, pull = jax.vjp(attend, *arrays)
        return output, *pull(change)

    for x, y in zip(run(*arrays), want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("is_causal", [False, True])
def test_values_and_gradients_are_those_of_torch(ours, is_causal, torch, keys):
    arrays = inputs(keys)
    want = theirs(torch, arrays, is_causal=is_causal)
    assert_same(functools.partial(OURS[ours], is_causal=is_causal), arrays, want)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("shape", [(2, 1, 1, 9), (1, 4, 7, 9), (2, 4, 7, 9)])
def test_masks_hide_the_same_keys(ours, shape, torch, keys):
    arrays = inputs(keys, s=9)
    mask = jax.random.bernoulli(next(keys), 0.6, shape).at[..., 0].set(True)
    want = theirs(torch, arrays, attn_mask=torch.from_numpy(np.array(mask)))
    assert_same(lambda *x: OURS[ours](*x, mask), arrays, want)


@pytest.mark.parametrize("ours", OURS)
def test_biases_are_added_to_the_same_scores(ours, torch, keys):
    arrays = inputs(keys, s=9)
    bias = jax.random.normal(next(keys), (1, 4, 7, 9))
    want = theirs(torch, arrays, attn_mask=torch.from_numpy(np.array(bias)), scale=0.3)
    assert_same(lambda *x: OURS[ours](*x, bias=bias, scale=0.3), arrays, want)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("key_heads", [1, 2])
def test_queries_share_the_same_heads_of_keys(ours, key_heads, torch, keys):
    arrays = inputs(keys, key_heads=key_heads)
    want = theirs(torch, arrays, is_causal=True, enable_gqa=True)
    assert_same(functools.partial(OURS[ours], is_causal=True), arrays, want)


@pytest.mark.parametrize("ours", OURS)
def test_a_query_without_keys_gets_zeros_as_in_torch(ours, torch, keys):
    arrays = inputs(keys)
    mask = jnp.ones((1, 1, 7, 7), bool).at[:, :, 2].set(False)
    want = theirs(torch, arrays, attn_mask=torch.from_numpy(np.array(mask)))
    output = OURS[ours](*arrays[:3], mask)
    assert not output[:, 2].any()
    np.testing.assert_allclose(output, np.nan_to_num(want[0]), rtol=1e-5, atol=1e-5)
