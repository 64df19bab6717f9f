from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.nystrom import ConvolutionAlone, Shortcut
from kexue_jax.nn.rows import RowClassifier
from kexue_jax.nn.token_classifier import TokenClassifier

MODEL = partial(
    TokenClassifier,
    vocabulary=5,
    features=8,
    layers=1,
    hidden=8,
    mixer=partial(SelfAttention, heads=2, head_size=4),
)


def test_padding_changes_no_score():
    model = MODEL(3, padding=0, rngs=nnx.Rngs(0))
    row = np.array([[1, 2, 4, 3]])
    longer = np.array([[1, 2, 4, 3, 0, 0], [0] * 6])
    call = nnx.jit(type(model).__call__)
    scores = np.asarray(call(model, longer))
    np.testing.assert_allclose(scores[:1], call(model, row), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scores[1], model.head.bias[...], atol=1e-6)


def test_order_matters_only_with_positions():
    there, back = np.array([[1, 2, 3]]), np.array([[3, 2, 1]])

    def scores(model):
        call = jax.jit(model.__call__)
        return np.asarray(call(there)), np.asarray(call(back))

    blind = MODEL(3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(*scores(blind), rtol=1e-5, atol=1e-6)

    def place(positions):
        return jnp.cos(positions[:, None] * jnp.arange(1.0, 9.0)[None, :])

    knowing = MODEL(3, position=place, rngs=nnx.Rngs(0))
    assert np.abs(np.subtract(*scores(knowing))).max() > 1e-3
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        blind(there[0])


def test_rows_go_through_the_layers_that_are_named():
    model = RowClassifier(4, 3, hidden=(5, 6), activation=jnp.tanh, rngs=nnx.Rngs(0))
    assert [layer.kernel.shape for layer in model.layers.layers] == [
        (4, 5),
        (5, 6),
        (6, 3),
    ]
    assert jax.jit(model.__call__)(np.ones((2, 4), np.float32)).shape == (2, 3)


def test_a_shortcut_adds_what_the_convolution_alone_gives():
    sizes = dict(heads=2, head_size=3, width=3)
    inputs = np.random.default_rng(0).normal(size=(3, 1, 5, 2, 3)).astype(np.float32)

    def attention(query, key, value, mask):
        return query + key

    both = Shortcut(attention=attention, rngs=nnx.Rngs(1), **sizes)
    alone = ConvolutionAlone(rngs=nnx.Rngs(1), **sizes)
    mixed, convolved = (jax.jit(layer.__call__) for layer in (both, alone))
    want = np.asarray(convolved(*inputs)) + inputs[0] + inputs[1]
    np.testing.assert_allclose(mixed(*inputs), want, rtol=1e-5, atol=1e-6)
    hidden = np.arange(5)[None, None, None] < 3
    other = inputs.copy()
    other[2, :, 3:] = 7.0
    np.testing.assert_array_equal(convolved(*inputs, hidden), convolved(*other, hidden))
    with pytest.raises(ValueError, match="is_causal"):
        alone(*inputs, is_causal=True)
    with pytest.raises(ValueError, match="width must be odd"):
        ConvolutionAlone(heads=1, head_size=1, width=4, rngs=nnx.Rngs(0))
