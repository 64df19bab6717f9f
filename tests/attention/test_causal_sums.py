"""The hand-written gradient of causal linear attention, in blocks of chunks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention import causal_sums
from kexue_jax.attention.feature_maps import elu_plus_one, exp_features
from kexue_jax.attention.linear import (
    linear_attention,
    linear_attention_init,
    linear_attention_parallel,
    linear_attention_step,
)
from kexue_jax.attention.performer import performer_attention, positive_features


@pytest.fixture(autouse=True)
def blocks_of_two_chunks(monkeypatch):
    monkeypatch.setattr(causal_sums, "BLOCK", 6)


def inputs(keys, t=20, s=20):
    shapes = ((2, t, 2, 4), (2, s, 2, 4), (2, s, 2, 3))
    return [jax.random.normal(next(keys), shape) for shape in shapes]


def value_and_gradients(attend, arrays, change):
    output, pull = jax.vjp(attend, *arrays)
    return output, *pull(change)


# Of 20 places 18 make three blocks of two chunks of 3, of 17 there is also a chunk and
# a rest of 2; with 20 keys for 17 queries three of them stand before the first.
@pytest.mark.parametrize(
    ("t", "s", "scaled"),
    [
        (17, 20, True),
        pytest.param(20, 20, True, marks=pytest.mark.slow),
        pytest.param(20, 20, False, marks=pytest.mark.slow),
        pytest.param(17, 20, False, marks=pytest.mark.slow),
    ],
)
def test_blocks_chunks_and_rests_have_the_gradients_of_the_other_forms(
    t, s, scaled, keys
):
    arrays = inputs(keys, t, s)
    rows = jax.random.normal(next(keys), (5, 4))
    feature_map = elu_plus_one
    if scaled:
        feature_map = functools.partial(positive_features, projection=rows)
    mask = jax.random.bernoulli(next(keys), 0.7, (2, 1, 1, s))
    change = jax.random.normal(next(keys), (2, t, 2, 3))
    chunked = functools.partial(linear_attention, chunk_size=3, is_causal=True)
    got, want = (
        jax.jit(
            functools.partial(
                value_and_gradients,
                functools.partial(form, mask=mask, feature_map=feature_map),
            )
        )(arrays, change)
        for form in (chunked, linear_attention_parallel)
    )
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5)


def test_what_the_feature_map_closes_over_gets_its_gradient(keys):
    q, k, v = inputs(keys)
    rows = jax.random.normal(next(keys), (5, 4))

    def loss(rows, *, forms):
        chunked, feature_map = forms
        if chunked:
            out = performer_attention(
                q, k, v, projection=rows, is_causal=True, chunk_size=3, scale=1.0
            )
        else:
            out = linear_attention_parallel(
                q, k, v, feature_map=functools.partial(feature_map, projection=rows)
            )
        return jnp.sum(out**2)

    got, want = (
        jax.jit(jax.grad(functools.partial(loss, forms=(chunked, positive_features))))(
            rows
        )
        for chunked in (True, False)
    )
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("feature_map", [elu_plus_one, exp_features])
def test_second_derivatives_are_those_of_the_other_forms(feature_map, keys):
    q, k, v = inputs(keys, 7, 7)

    def penalty(form, key):
        def loss(key):
            return jnp.sum(form(q, key, v, feature_map=feature_map) ** 2)

        return jnp.sum(jax.grad(loss)(key) ** 2)

    chunked = functools.partial(linear_attention, chunk_size=3, is_causal=True)
    got, want = (
        jax.jit(jax.grad(functools.partial(penalty, form)))(k)
        for form in (chunked, linear_attention_parallel)
    )
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


def test_gradients_reach_the_tokens_of_earlier_steps(keys):
    arrays = inputs(keys)
    change = jax.random.normal(next(keys), (2, 20, 2, 3))

    def in_two_steps(*arrays):
        state = linear_attention_init(batch=2, heads=2, head_size=4, value_size=3)
        outputs = []
        for run in (slice(0, 8), slice(8, 20)):
            some = (x[:, run] for x in arrays)
            state, output = linear_attention_step(state, *some, chunk_size=3)
            outputs.append(output)
        return jnp.concatenate(outputs, axis=1)

    got, want = (
        jax.jit(functools.partial(value_and_gradients, form))(arrays, change)
        for form in (in_two_steps, linear_attention_parallel)
    )
    for x, y in zip(got, want, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5)
