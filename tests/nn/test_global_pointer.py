from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.losses.multilabel import sparse_multilabel_cross_entropy
from kexue_jax.nn.functional import functional
from kexue_jax.nn.global_pointer import EfficientGlobalPointer, GlobalPointer

HEADS = [GlobalPointer, EfficientGlobalPointer]


def states(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def weights(model, name):
    layer = getattr(model, name)
    return (np.asarray(x[...], np.float64) for x in (layer.kernel, layer.bias))


def turned(features, place):
    """Neighbouring features of one token, as complex numbers, times a rotation."""
    size = len(features)
    turn = np.exp(1j * place * 10000.0 ** (-np.arange(0, size, 2) / size))
    pairs = (features[0::2] + 1j * features[1::2]) * turn
    return np.stack([pairs.real, pairs.imag], axis=1).ravel()


def literal(model, inputs, position=turned):
    """Scores of one text, span by span, in float64."""
    kernel, bias = weights(model, "projection")
    size, length = model.head_size, len(inputs)
    mapped = inputs.astype(np.float64) @ kernel + bias
    found = np.full((model.types, length, length), -np.inf)
    for c, i, j in np.ndindex(*found.shape):
        if isinstance(model, GlobalPointer):
            query = mapped[i, 2 * c * size : (2 * c + 1) * size]
            key = mapped[j, (2 * c + 1) * size : (2 * c + 2) * size]
            terms = 0.0
        else:
            query, key = mapped[i, 0::2], mapped[j, 1::2]
            kernel, bias = weights(model, "terms")
            start, end = mapped[i] @ kernel + bias, mapped[j] @ kernel + bias
            terms = 0.5 * (start[2 * c + 1] + end[2 * c])
        if i <= j or not model.upper:
            inner = position(query, i) @ position(key, j) / np.sqrt(size)
            found[c, i, j] = inner + terms
    return found


@pytest.mark.parametrize("head", HEADS)
def test_scores_are_the_formula_and_padding_is_hidden(head):
    model = head(5, types=3, head_size=4, rngs=nnx.Rngs(0))
    inputs = states(2, 6, 5)
    kept = np.arange(6) < np.array([[6], [4]])
    found = np.asarray(nnx.jit(head.__call__)(model, inputs, kept))
    want = literal(model, inputs[0])
    np.testing.assert_allclose(found[0], want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found[1, :, :4, :4], literal(model, inputs[1, :4]), rtol=1e-5, atol=1e-5
    )
    assert (found[1, :, 4:] == -np.inf).all()
    assert (found[1, :, :, 4:] == -np.inf).all()


@pytest.mark.parametrize("head", HEADS)
def test_links_have_no_triangle_and_no_position(head):
    model = head(5, types=2, head_size=3, position=None, upper=False, rngs=nnx.Rngs(1))
    inputs = states(1, 4, 5)
    found = jax.jit(model.__call__)(inputs)
    want = literal(model, inputs[0], position=lambda features, place: features)
    np.testing.assert_allclose(found[0], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", HEADS)
def test_equal_entities_are_told_apart_by_position_alone(head):
    # A local encoder sees the same head, inside and tail in each of three entities.
    inputs = np.tile(states(3, 5), (3, 1))[None]
    heads, tails = np.array([0, 3, 6]), np.array([2, 5, 8])
    pairs = [(i, j) for i in heads for j in tails if i <= j]

    def of_pairs(position):
        model = head(5, types=1, head_size=4, position=position, rngs=nnx.Rngs(0))
        scores = np.asarray(jax.jit(model.__call__)(inputs))[0, 0]
        return np.array([scores[pair] for pair in pairs])

    blind = of_pairs(None)
    np.testing.assert_allclose(blind, blind[0], rtol=1e-5)
    knowing = of_pairs(GlobalPointer.__init__.__kwdefaults__["position"])
    lengths = np.array([j - i for i, j in pairs])
    for length in (2, 5, 8):
        own = knowing[lengths == length]
        np.testing.assert_allclose(own, own[0], rtol=1e-4, atol=1e-5)
    assert len({round(float(knowing[lengths == n][0]), 3) for n in (2, 5, 8)}) == 3


@pytest.mark.parametrize(
    ("head", "types", "features", "want"),
    [
        (GlobalPointer, 100, 768, 100 * 128 * 769),
        (EfficientGlobalPointer, 100, 768, 128 * 769 + 200 * 129),
        (GlobalPointer, 2 + 2 * 49, 768, 9_843_200),
    ],
)
def test_parameters_are_as_many_as_the_posts_count(head, types, features, want):
    model = nnx.eval_shape(lambda: head(features, types=types, rngs=nnx.Rngs(0)))
    leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    assert sum(leaf.size for leaf in leaves) == want


def test_three_efficient_heads_of_a_relation_model_are_as_small_as_the_post_says():
    def size(types):
        model = nnx.eval_shape(
            lambda: EfficientGlobalPointer(768, types=types, rngs=nnx.Rngs(0))
        )
        leaves = jax.tree.leaves(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
        return sum(leaf.size for leaf in leaves)

    assert size(2) + 2 * size(49) == 321_096


@pytest.mark.parametrize("upper", [True, False])
@pytest.mark.parametrize("head", HEADS)
def test_the_loss_and_its_gradients_are_those_of_the_scores(head, upper):
    init, apply = functional(
        lambda *, rngs: head(4, types=2, head_size=2, upper=upper, rngs=rngs)
    )
    params, extras = init(jax.random.key(0))
    inputs, kept = states(2, 5, 4), np.arange(5) < np.array([[5], [3]])
    positives = np.array([[[[0, 2]], [[1, 1]]], [[[-1, -1]], [[2, 2]]]], np.int32)
    flat = np.where(positives[..., 0] < 0, -1, positives @ np.array([5, 1]))

    def fused(params):
        return apply(params, extras, inputs, kept, positives, method="loss")[0]

    def plain(params):
        scores, _ = apply(params, extras, inputs, kept)
        return sparse_multilabel_cross_entropy(scores.reshape(2, 2, 25), flat)

    def sloped(loss):
        value, pull = jax.vjp(loss, params)
        return value, pull(jnp.arange(1.0, 5.0).reshape(2, 2))

    found, want = jax.jit(lambda: (sloped(fused), sloped(plain)))()
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), found, want)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="types must be at least 1, got 0"):
        GlobalPointer(4, types=0, rngs=nnx.Rngs(0))
    model = EfficientGlobalPointer(4, types=1, head_size=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"states must be \[B, T, 4\]"):
        model(states(1, 3, 5))
    with pytest.raises(ValueError, match=r"kept must be bool \(1, 3\), got float32"):
        model(states(1, 3, 4), states(1, 3))
