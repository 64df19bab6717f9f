import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.attention.entropy_invariant import entropy_invariant_attention
from kexue_jax.attention.local import local_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.taylor import taylor_attention
from kexue_jax.nn.attention_fn import attention_fn

EXACT = {
    "dense": softmax_attention,
    "blocked": functools.partial(blocked_attention, query_block=2, key_block=3),
    "local": functools.partial(local_attention, radius=8),
    "entropy": functools.partial(entropy_invariant_attention, base=5.0, floor=5.0),
}
exact = pytest.mark.parametrize("name", EXACT)


def layer(attention, **options):
    options = dict(decode=False, rngs=nnx.Rngs(0)) | options
    return nnx.MultiHeadAttention(2, 8, attention_fn=attention, **options)


@functools.partial(jax.jit, static_argnames=("attention", "is_causal"))
def called(x, mask=None, *, attention, is_causal=False):
    return layer(attention)(x, mask=mask, is_causal=is_causal)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def inputs(*shape):
    return normal(3, *shape, 2, 4)


@exact
def test_the_layer_of_flax_gives_what_it_gives_without(name):
    x = normal(2, 5, 8)
    mask = np.tril(np.ones((2, 1, 5, 5), np.float32))  # of numbers
    if name == "entropy":
        mask = mask + 1  # the scale is the usual one only where five keys are visible
    want = called(x, mask, attention=nnx.dot_product_attention)
    got = called(x, mask, attention=attention_fn(EXACT[name]))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_layer_of_flax_decodes_through_it():
    x = normal(2, 4, 8)
    model = layer(attention_fn(softmax_attention), decode=True)
    model.init_cache(x.shape)
    steps = [model(x[:, t : t + 1])[:, 0] for t in range(4)]
    whole = called(x, attention=attention_fn(softmax_attention), is_causal=True)
    np.testing.assert_allclose(np.stack(steps, 1), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_batch_axes_may_be_none_or_many(batch):
    q, k, v = inputs(*batch, 5)
    mask = np.random.default_rng(1).random((*batch, 1, 5, 5)) < 0.7
    mask = mask | np.eye(5, dtype=bool)
    bias = normal(*batch, 2, 5, 5, seed=2)
    got = jax.jit(attention_fn(softmax_attention))(q, k, v, bias, mask)
    with jax.numpy_rank_promotion("allow"):
        want = jax.jit(nnx.dot_product_attention)(q, k, v, bias, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_gradients_go_through_the_layer():
    x = normal(1, 5, 8)
    graph, params = nnx.split(layer(attention_fn(taylor_attention), keep_rngs=False))

    def loss(params):
        return jnp.sum(nnx.merge(graph, params)(x, is_causal=True) ** 2)

    grads = jax.tree.leaves(jax.device_get(jax.jit(jax.grad(loss))(params)))
    assert all(np.isfinite(g).all() for g in grads)
    assert any(g.any() for g in grads)


def test_dropout_is_refused_in_training_and_nothing_in_evaluation():
    x = normal(1, 3, 8)
    model = layer(attention_fn(softmax_attention), dropout_rate=0.1)
    with pytest.raises(ValueError, match=r"cannot honour dropout_rate=0\.1"):
        model(x, deterministic=False)
    assert jax.jit(lambda x: model(x, deterministic=True))(x).shape == x.shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(bias=np.zeros((1, 1, 3, 3), np.float32)), "cannot honour bias"),
        (dict(precision="highest"), "precision=highest"),
        (dict(is_causal=True), "cannot honour is_causal"),
    ],
)
def test_what_the_function_has_no_argument_for_is_refused(options, words):
    def plain(query, key, value, mask=None):
        return softmax_attention(query, key, value, mask)

    with pytest.raises(ValueError, match=words):
        attention_fn(plain)(*inputs(1, 3), **options)


def test_sown_weights_and_causal_masks_of_unequal_lengths_are_refused():
    x = normal(1, 3, 8)
    with pytest.raises(ValueError, match="cannot honour sow_weights"):
        layer(attention_fn(softmax_attention))(x, sow_weights=True)
    q, k, v = inputs(1, 3)
    with pytest.raises(ValueError, match="is_causal needs as many queries as keys"):
        attention_fn(softmax_attention)(q[:, :2], k, v, is_causal=True)


def test_a_dtype_is_that_of_the_result():
    attend = functools.partial(attention_fn(softmax_attention), dtype=jnp.bfloat16)
    out = jax.jit(attend)(*inputs(1, 3))
    assert out.dtype == jnp.bfloat16
