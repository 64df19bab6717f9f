import math
from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.nn.bert import Bert
from kexue_jax.nn.functional import functional

SIZES = dict(vocabulary=13, features=8, layers=2, heads=2, hidden=12, length=9)


@pytest.fixture(scope="module")
def model():
    init, apply = functional(partial(Bert, **SIZES, deviation=0.4, dropout_rate=0.3))
    params, extras = jax.jit(init)(jax.random.key(1))
    assert not extras
    draws = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.2 * draws.normal(size=x.shape)), params
    )
    return params, jax.jit(partial(apply, method="layers"), static_argnames="train")


def layer_norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def slow_layers(params, tokens, kept, segments):
    """The post-norm encoder in float64, a row and a head at a time."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    rows = []
    for row, mask, kinds in zip(tokens, kept, segments, strict=True):
        x = p["tokens"]["embedding"][row] + p["segments"]["embedding"][kinds]
        x = layer_norm(x + p["positions"]["table"][: len(row)], p["norm"])
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
    params, _ = model
    tokens, kept, _ = drawn()
    _, apply = functional(partial(Bert, **SIZES, dropout_rate=0.3))
    apply = jax.jit(apply, static_argnames="train")
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, {}, tokens, train=True)
    plain, _ = apply(params, {}, tokens, kept=kept)
    still, _ = apply(params, {}, tokens, kept=kept, rng=jax.random.key(0))
    trained, _ = apply(params, {}, tokens, kept=kept, train=True, rng=jax.random.key(0))
    np.testing.assert_array_equal(plain, still)
    assert not np.allclose(plain, trained)


def test_pooled_is_a_map_of_the_first_place(model):
    params, _ = model
    _, apply = functional(partial(Bert, **SIZES))
    states = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
    got, _ = jax.jit(partial(apply, method="pooled"))(params, {}, states)
    want = np.tanh(linear(states[:, 0], params["pooler"]))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    _, bare = functional(partial(Bert, **SIZES, has_pooler=False))
    without = {k: v for k, v in params.items() if k != "pooler"}
    with pytest.raises(ValueError, match="has_pooler=False"):
        bare(without, {}, states, method="pooled")


def test_what_does_not_fit_is_refused(model):
    params, layers = model
    tokens, kept, segments = drawn()
    for options, message in (
        (dict(kept=kept[:, :3]), r"kept must be \(3, 7\)"),
        (dict(kept=kept.astype(np.int32)), "kept must be bool, got int32"),
        (dict(segments=segments[0]), r"segments must be \(3, 7\)"),
    ):
        with pytest.raises(ValueError, match=message):
            layers(params, {}, tokens, **options)
    with pytest.raises(ValueError, match="at most 9 a row, got 10"):
        layers(params, {}, np.zeros((1, 10), np.int32))
    with pytest.raises(ValueError, match=r"tokens must be \[B, T\]"):
        layers(params, {}, tokens[0])
    with pytest.raises(ValueError, match="heads must divide"):
        functional(partial(Bert, **SIZES | {"heads": 3}))
    with pytest.raises(ValueError, match="layers must be at least 1"):
        functional(partial(Bert, **SIZES | {"layers": 0}))
