import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.masks import unilm_mask
from kexue_jax.nn import families
from kexue_jax.nn.functional import functional
from kexue_jax.nn.heads import Headed, PlaceHead, PooledHead, VocabularyHead
from kexue_jax.nn.text_to_text import TextToText

SIZES = dict(vocabulary=13, features=8, layers=2, heads=2, hidden=12)


def shaken(params, seed=0):
    """Parameters moved off their beginnings, so that biases and scales count."""
    draws = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.2 * draws.normal(size=x.shape)), params
    )


@pytest.fixture(scope="module")
def model():
    make = partial(families.bert, **SIZES, length=9, deviation=0.4, dropout_rate=0.3)
    init, apply = functional(make)
    params, extras = jax.jit(init)(jax.random.key(1))
    assert not extras
    params = shaken(params)
    return params, jax.jit(partial(apply, method="layers"), static_argnames="train")


def layer_norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def slow_layers(params, tokens, kept, segments):
    """The post-norm encoder in float64, a row and a head at a time."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    table = p["embeddings"]
    rows = []
    for row, mask, kinds in zip(tokens, kept, segments, strict=True):
        x = table["tokens"]["embedding"][row] + table["segments"]["embedding"][kinds]
        x = layer_norm(x + table["position"]["table"][: len(row)], table["norm"])
        found = [x]
        for block in (p["blocks"]["0"], p["blocks"]["1"]):
            q, k, v = (linear(x, block["mixer"][n]) for n in ("query", "key", "value"))
            heads = []
            for at in (slice(0, 4), slice(4, 8)):
                scores = np.exp(q[:, at] @ k[:, at].T / 2.0) * mask
                heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, at])
            mixed = linear(np.concatenate(heads, -1), block["mixer"]["output"])
            x = layer_norm(x + mixed, block["mixer_norm"])
            wide = linear(x, block["feed_forward"]["widen"])
            wide = wide * 0.5 * (1.0 + np.vectorize(math.erf)(wide / math.sqrt(2.0)))
            change = linear(wide, block["feed_forward"]["narrow"])
            x = layer_norm(x + change, block["feed_forward_norm"])
            found.append(x)
        rows.append(found)
    return [np.stack(states) for states in zip(*rows, strict=True)]


def drawn():
    draws = np.random.default_rng(2)
    tokens = draws.integers(0, 13, (3, 7)).astype(np.int32)
    segments = (np.arange(7) > 3).astype(np.int32) * np.ones((3, 1), np.int32)
    return tokens, np.arange(7) < np.array([[7], [5], [1]]), segments


def test_layers_are_those_of_the_formula(model):
    params, layers = model
    tokens, kept, segments = drawn()
    got, _ = layers(params, {}, tokens, kept=kept, segments=segments)
    want = slow_layers(params, tokens, kept, segments)
    assert len(got) == len(want) == 3
    for ours, slow in zip(jax.device_get(got), want, strict=True):
        np.testing.assert_allclose(ours[kept], slow[kept], rtol=1e-5, atol=1e-5)


def test_padding_is_not_read_and_an_empty_row_is_finite(model):
    params, layers = model
    tokens, kept, segments = drawn()
    kept[0] = False
    other = np.where(kept, tokens, (tokens + 5) % 13)
    got, again = (
        jax.device_get(layers(params, {}, x, kept=kept, segments=segments)[0])
        for x in (tokens, other)
    )
    np.testing.assert_array_equal(got[-1][kept], again[-1][kept])
    assert not np.allclose(got[0][~kept], again[0][~kept])
    assert all(np.isfinite(states).all() for states in got)


def test_dropout_needs_a_key_and_acts_in_training_alone(model):
    params, layers = model
    tokens, kept, _ = drawn()
    with pytest.raises(ValueError, match="needs a key"):
        layers(params, {}, tokens, train=True)
    plain, _ = layers(params, {}, tokens, kept=kept)
    still, _ = layers(params, {}, tokens, kept=kept, rng=jax.random.key(0))
    trained, _ = layers(
        params, {}, tokens, kept=kept, train=True, rng=jax.random.key(0)
    )
    np.testing.assert_array_equal(plain[-1], still[-1])
    assert not np.allclose(plain[-1], trained[-1])


def test_an_offset_is_added_to_the_vectors_of_tokens(model):
    params, layers = model
    tokens, kept, segments = drawn()
    other = (tokens + 1) % 13
    table = params["embeddings"]["tokens"]["embedding"]
    options = dict(kept=kept, segments=segments)
    want, _ = layers(params, {}, other, **options)
    got, _ = layers(params, {}, tokens, offset=table[other] - table[tokens], **options)
    np.testing.assert_allclose(got[-1], want[-1], rtol=1e-5, atol=1e-5)


def leaves(make):
    init, _ = functional(make)
    params, _ = jax.eval_shape(init, jax.random.key(0))
    return params, sum(math.prod(x.shape) for x in jax.tree.leaves(params))


def test_families_differ_in_the_parameters_that_the_table_says():
    bert, count = leaves(partial(families.bert, **SIZES, length=9))
    block = 4 * (8 * 8 + 8) + 2 * 8 * 12 + 12 + 8 + 4 * 8
    assert count == (13 + 2 + 9) * 8 + 2 * 8 + 2 * block
    assert set(bert["embeddings"]) == {"tokens", "segments", "position", "norm"}
    albert, count = leaves(
        partial(families.albert, **SIZES, embedding_size=4, length=9)
    )
    assert count == (13 + 2 + 9) * 4 + 2 * 4 + 4 * 8 + 8 + block
    assert list(albert["blocks"]) == ["0"]
    for family in (families.nezha, families.roformer):
        params, count = leaves(partial(family, **SIZES))
        assert count == (13 + 2) * 8 + 2 * 8 + 2 * block
        assert "position" not in params["embeddings"]
    _, count = leaves(partial(families.roformer_v2, **SIZES))
    assert count == (13 + 2) * 8 + 2 * (4 * 8 * 8 + 2 * 8 * 12)
    gpt, _ = leaves(partial(families.gpt, **SIZES, length=9))
    gpt2, _ = leaves(partial(families.gpt2, **SIZES, length=9))
    assert set(gpt) == {"blocks", "embeddings"}
    assert set(gpt2) == {"blocks", "embeddings", "norm"}


@pytest.mark.parametrize("name", ["gpt", "gpt2"])
def test_steps_give_what_the_whole_call_gives(name):
    make = partial(getattr(families, name), **SIZES, length=9, deviation=0.3)
    init, apply = functional(make)
    params = shaken(jax.jit(init)(jax.random.key(1))[0])
    tokens, _, _ = drawn()
    whole, _ = jax.jit(apply)(params, {}, tokens)
    other = tokens.copy()
    other[:, 5:] = 0
    early, _ = jax.jit(apply)(params, {}, other)
    np.testing.assert_array_equal(whole[:, :5], early[:, :5])
    cache, _ = apply(params, {}, 3, 7, method="empty_cache")
    step = jax.jit(partial(apply, method="step"))
    found = []
    for part in (tokens[:, :3], tokens[:, 3:4], tokens[:, 4:]):
        (states, cache), _ = step(params, {}, part, cache)
        found.append(states)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)


def test_t5_steps_give_what_the_whole_call_gives_and_share_their_buckets():
    make = partial(TextToText, **SIZES, head_size=3, decoder_layers=1, deviation=0.3)
    init, apply = functional(make)
    params = shaken(jax.jit(init)(jax.random.key(1))[0])
    assert "bias" in params["encoder"]["blocks"]["0"]["mixer"]
    assert "bias" not in params["encoder"]["blocks"]["1"]["mixer"]
    assert "embeddings" not in params["encoder"]  # one table, of the decoder
    tokens, kept, segments = drawn()
    options = dict(source=segments, source_kept=kept)
    whole, _ = jax.jit(apply)(params, {}, tokens, **options)
    hidden = np.where(kept, segments, 1 - segments)
    again, _ = jax.jit(apply)(params, {}, tokens, source=hidden, source_kept=kept)
    np.testing.assert_array_equal(whole, again)
    cache, _ = apply(params, {}, segments, kept, length=7, method="read")
    step = jax.jit(partial(apply, method="step"))
    found = []
    for part in (tokens[:, :3], tokens[:, 3:]):
        (scores, cache), _ = step(params, {}, part, cache)
        found.append(scores)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)


def test_unilm_is_any_family_with_its_mask():
    make = partial(families.roformer, **SIZES, deviation=0.3)
    init, apply = functional(partial(make, mask=unilm_mask))
    params = shaken(jax.jit(init)(jax.random.key(1))[0])
    tokens, _, segments = drawn()
    first, _ = jax.jit(apply)(params, {}, tokens, segments=segments)
    later = tokens.copy()
    later[:, 6] = (later[:, 6] + 1) % 13  # the last target token
    second, _ = jax.jit(apply)(params, {}, later, segments=segments)
    np.testing.assert_array_equal(first[:, :6], second[:, :6])
    _, plain = functional(make)
    both, _ = jax.jit(plain)(params, {}, tokens, segments=0 * segments)
    one, _ = jax.jit(apply)(params, {}, tokens, segments=0 * segments)
    np.testing.assert_allclose(one, both, rtol=1e-5, atol=1e-6)


def test_a_head_that_drops_features_needs_a_key_in_training():
    head = partial(PlaceHead, classes=2, dropout_rate=0.1)
    make = partial(Headed, backbone=partial(families.bert, **SIZES), head=head)
    init, apply = functional(make)
    params, _ = jax.jit(init)(jax.random.key(0))
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, {}, drawn()[0], train=True)


def test_heads_are_maps_of_the_states():
    body = partial(families.bert, **SIZES, length=9)

    def built(head):
        init, apply = functional(partial(Headed, backbone=body, head=head))
        return shaken(jax.jit(init)(jax.random.key(0))[0]), jax.jit(apply)

    tokens, kept, _ = drawn()
    _, bare = functional(body)
    bare = jax.jit(bare)
    params, apply = built(partial(PooledHead, classes=3))
    states, _ = bare(params["backbone"], {}, tokens, kept=kept)
    got, _ = apply(params, {}, tokens, kept=kept)
    pooled = np.tanh(linear(np.asarray(states)[:, 0], params["head"]["pooler"]))
    want = linear(pooled, params["head"]["scores"])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    params, apply = built(partial(PlaceHead, classes=2))
    states, _ = bare(params["backbone"], {}, tokens, kept=kept)
    got, _ = apply(params, {}, tokens, kept=kept)
    want = linear(np.asarray(states), params["head"]["scores"])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    params, apply = built(partial(VocabularyHead, vocabulary=13, activation=jnp.tanh))
    states, _ = bare(params["backbone"], {}, tokens, kept=kept)
    table = params["backbone"]["embeddings"]["tokens"]["embedding"]
    want = np.tanh(linear(np.asarray(states), params["head"]["transform"]))
    want = want @ table.T + params["head"]["bias"]
    got, _ = apply(params, {}, tokens, kept=kept)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    places = np.array([[1, 0], [3, 3], [0, 0]])
    some, _ = apply(params, {}, tokens, kept=kept, places=places)
    np.testing.assert_allclose(
        some, np.take_along_axis(want, places[..., None], 1), rtol=1e-5, atol=1e-5
    )


def test_what_does_not_fit_is_refused(model):
    params, layers = model
    tokens, kept, segments = drawn()
    for options, message in (
        (dict(kept=kept[:, :3]), r"kept must be \(3, 7\)"),
        (dict(kept=kept.astype(np.int32)), "kept must be bool, got int32"),
        (dict(segments=segments[0]), r"segments must be \(3, 7\)"),
        (dict(memory=np.zeros((3, 2, 8))), "memory is for readers"),
    ):
        with pytest.raises(ValueError, match=message):
            layers(params, {}, tokens, **options)
    with pytest.raises(ValueError, match="at most 9 a row, got 10"):
        layers(params, {}, np.zeros((1, 10), np.int32))
    with pytest.raises(ValueError, match=r"tokens must be \[B, T\]"):
        layers(params, {}, tokens[0])
    for wrong, message in (
        ({"heads": 3}, "heads must divide"),
        ({"layers": 0}, "layers must be at least 1"),
        ({"groups": 3}, "groups divide them"),
        ({"vocabulary": 0}, "vocabulary must be at least 1"),
        ({"turns_values": True}, "turns_values needs a position"),
    ):
        with pytest.raises(ValueError, match=message):
            functional(partial(families.bert, **SIZES | wrong))
    _, apply = functional(partial(families.bert, **SIZES, segments=0))
    bare = {**params, "embeddings": dict(params["embeddings"])}
    del bare["embeddings"]["segments"]
    with pytest.raises(ValueError, match="segments must be None"):
        apply(bare, {}, tokens, segments=segments)
    with pytest.raises(ValueError, match="only a causal model"):
        apply(bare, {}, tokens, None, method="step")
