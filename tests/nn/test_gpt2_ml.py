from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import erf

from kexue_jax.nn.functional import functional
from kexue_jax.nn.gpt2_ml import gpt2_ml

SIZES = dict(vocabulary=13, features=8, layers=2, heads=2, hidden=12, length=9)


@pytest.fixture(scope="module")
def model():
    init, apply = functional(partial(gpt2_ml, **SIZES, deviation=0.4))
    params, _ = jax.jit(init)(jax.random.key(1))
    draws = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: np.asarray(x) + np.float32(0.2 * draws.normal(size=x.shape)), params
    )
    return params, apply


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


def slow(params, row):
    """One row in float64, a head at a time."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    table = p["embeddings"]
    x = table["tokens"]["embedding"][row] + table["position"]["table"][: len(row)]
    x = norm(x, table["norm"])
    for block in p["blocks"].values():
        q, k, v = (linear(x, block["mixer"][n]) for n in ("query", "key", "value"))
        heads = []
        for at in (slice(0, 4), slice(4, 8)):
            scores = np.exp(q[:, at] @ k[:, at].T / 2.0) * np.tri(len(row))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, at])
        x = x + linear(np.concatenate(heads, -1), block["mixer"]["output"])
        maps = block["feed_forward"]
        wide = linear(norm(x, maps["norm"]), maps["widen"])
        wide = wide * 0.5 * (1.0 + erf(wide / np.sqrt(2.0)))
        x = norm(x + linear(wide, maps["narrow"]), block["feed_forward_norm"])
    return x


def test_states_are_those_of_the_formula(model):
    params, apply = model
    tokens = np.random.default_rng(3).integers(0, 13, (3, 7)).astype(np.int32)
    got, _ = jax.jit(apply)(params, {}, tokens)
    want = [slow(params, row) for row in tokens]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_steps_give_what_the_whole_call_gives(model):
    params, apply = model
    tokens = np.random.default_rng(4).integers(0, 13, (2, 6)).astype(np.int32)
    whole, _ = jax.jit(apply)(params, {}, tokens)
    cache, _ = apply(params, {}, 2, 6, method="empty_cache")
    step = jax.jit(partial(apply, method="step"))
    found = []
    for part in (tokens[:, :4], tokens[:, 4:5], tokens[:, 5:]):
        (states, cache), _ = step(params, {}, part, cache)
        found.append(states)
    np.testing.assert_allclose(np.concatenate(found, 1), whole, rtol=1e-5, atol=1e-5)


def test_sums_have_one_norm_a_block_and_sizes_have_to_fit(model):
    params, _ = model
    assert set(params) == {"embeddings", "blocks"}
    assert set(params["blocks"]["0"]) == {"mixer", "feed_forward", "feed_forward_norm"}
    with pytest.raises(ValueError, match="heads must divide 8 features, got 3"):
        functional(partial(gpt2_ml, **SIZES | {"heads": 3}))
