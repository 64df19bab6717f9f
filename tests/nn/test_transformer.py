from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.linear import linear_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.dropout import dropout
from kexue_jax.nn.functional import functional
from kexue_jax.nn.transformer import Transformer
from kexue_jax.position.rotary import rotary

SIZES = dict(features=8, layers=2, hidden=16)
OF_MIXER = ("position", "bias", "attention", "qk_norm", "key_heads")


def transformer(keys, **options):
    inner = {k: options.pop(k) for k in OF_MIXER if k in options}
    mixer = partial(SelfAttention, **dict(heads=2, head_size=4) | inner)
    settings = {**SIZES, "mixer": mixer, **options}
    init, apply = functional(partial(Transformer, 11, **settings))
    settings = ("train", "method", "batch", "length")
    return *jax.jit(init)(next(keys)), jax.jit(apply, static_argnames=settings)


def distance_bias(query_positions, key_positions):
    gap = query_positions[:, None] - key_positions[None, :]
    return -0.3 * jnp.abs(gap)[None, None].astype(jnp.float32)


def tokens(*shape):
    return np.random.default_rng(0).integers(0, 11, shape or (2, 6), np.int32)


def others(tokens, places):
    """The same but for some places."""
    found = tokens.copy()
    found[:, places] = (found[:, places] + 1) % 11
    return found


def scores_of(model, inputs, **options):
    params, extras, apply = model
    return np.asarray(apply(params, extras, inputs, **options)[0])


def slow(params, inputs, layers=2, heads=2, size=4, qk_norm=False):
    """The causal model without positions, in float64, one place at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale

    table, output = (p["vocabulary"].get(n) for n in ("embedding", "output"))
    out = []
    for row in inputs:
        stream = table[row] * np.sqrt(table.shape[1])
        for layer in range(layers):
            block = p["stack"]["blocks"][str(layer)]
            x = norm(stream, block["mixer_norm"]["scale"])
            q, k, v = (
                (x @ block["mixer"][n]["kernel"]).reshape(len(row), heads, size)
                for n in ("query", "key", "value")
            )
            if qk_norm:
                q, k = norm(q, 1.0), norm(k, 1.0)
            mixed = np.zeros_like(q)
            for t in range(len(row)):
                for n in range(heads):
                    power = np.exp(k[: t + 1, n] @ q[t, n] / np.sqrt(size))
                    mixed[t, n] = power / power.sum() @ v[: t + 1, n]
            flat = mixed.reshape(len(row), -1)
            stream = stream + flat @ block["mixer"]["output"]["kernel"]
            x = norm(stream, block["feed_forward_norm"]["scale"])
            fed = np.maximum(x @ block["feed_forward"]["widen"]["kernel"], 0.0)
            stream = stream + fed @ block["feed_forward"]["narrow"]["kernel"]
        scored = norm(stream, p["stack"]["norm"]["scale"])
        out.append(scored @ (table if output is None else output).T)
    return np.stack(out)


@pytest.mark.parametrize(("qk_norm", "tied"), [(False, True), (True, False)])
def test_is_what_a_loop_over_places_computes(keys, qk_norm, tied):
    options = dict(activation=jax.nn.relu, qk_norm=qk_norm, tied=tied)
    params, extras, apply = transformer(keys, **options)
    inputs = tokens()
    got, _ = apply(params, extras, inputs)
    want = slow(params, inputs, qk_norm=qk_norm)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_with_zeros_for_the_last_maps_blocks_begin_as_the_identity(keys):
    options = dict(output_init=jax.nn.initializers.zeros)
    model = transformer(keys, **options)
    inputs = tokens()
    got = scores_of(model, inputs)
    table = np.asarray(model[0]["vocabulary"]["embedding"])
    stream = table[inputs]
    stream = stream / np.sqrt(np.mean(stream**2, -1, keepdims=True))
    np.testing.assert_allclose(got, stream @ table.T, rtol=1e-4, atol=1e-4)
    untied = transformer(keys, tied=False, **options)
    np.testing.assert_array_equal(scores_of(untied, inputs), 0.0)


def test_with_qk_norm_the_scores_of_attention_do_not_grow_with_the_weights(keys):
    params, extras, apply = transformer(keys, qk_norm=True)
    larger = jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.asarray(leaf) * (1e3 if "query" in str(path) else 1.0),
        params,
    )
    inputs = tokens()
    got, want = (apply(p, extras, inputs)[0] for p in (larger, params))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", [None, rotary])
def test_later_tokens_do_not_change_earlier_scores(keys, position):
    model, inputs = transformer(keys, position=position), tokens()
    other = others(inputs, slice(3, None))
    got, want = (scores_of(model, x) for x in (other, inputs))
    np.testing.assert_allclose(got[:, :3], want[:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(got[:, 3:] - want[:, 3:]).max() > 1e-3


def test_without_positions_one_layer_cannot_tell_the_order_of_the_past(keys):
    inputs = np.array([[1, 2, 3, 4], [2, 1, 3, 4]])
    gaps = []
    for position in (None, rotary):
        scores = scores_of(transformer(keys, position=position, layers=1), inputs)
        gaps.append(np.abs(scores[0, -1] - scores[1, -1]).max())
    assert gaps[0] < 1e-5 < 1e-3 < gaps[1]


def test_a_single_token_is_a_sequence(keys):
    scores = scores_of(transformer(keys, position=rotary), tokens(1, 1))
    assert scores.shape == (1, 1, 11)
    assert np.isfinite(scores).all()


def test_dropout_acts_in_training_alone_and_follows_its_key(keys):
    model, inputs = transformer(keys, dropout_rate=0.5), tokens()
    one, two = next(keys), next(keys)
    still = [scores_of(model, inputs, rng=key) for key in (None, one)]
    np.testing.assert_array_equal(*still)
    runs = [scores_of(model, inputs, train=True, rng=k) for k in (one, one, two)]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(runs[0] - runs[2]).max() > 1e-3
    assert np.abs(runs[0] - still[0]).max() > 1e-3


def test_training_with_dropout_but_no_key_is_refused(keys):
    params, extras, apply = transformer(keys, dropout_rate=0.5)
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, extras, tokens(), train=True)


def test_an_untied_output_has_its_own_table(keys):
    tied, _, _ = transformer(keys)
    untied, extras, apply = transformer(keys, tied=False)
    tables = untied["vocabulary"]
    assert "output" not in tied["vocabulary"]
    assert tables["output"].shape == (11, 8)
    zeros = untied | {"vocabulary": tables | {"output": np.zeros((11, 8), np.float32)}}
    assert not scores_of((zeros, extras, apply), tokens()).any()


def test_scores_are_float32_and_close_when_params_are_bfloat16(keys):
    params, extras, apply = transformer(keys, position=rotary)
    inputs = tokens()
    half = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.bfloat16), params)
    got, _ = apply(half, extras, inputs)
    want, _ = apply(params, extras, inputs)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=0.1, atol=0.1)


def test_gradients_are_finite_and_reach_every_parameter(keys):
    params, extras, apply = transformer(keys, position=rotary)
    inputs = tokens()

    def loss(p):
        return jnp.sum(jnp.square(apply(p, extras, inputs)[0]))

    slopes = jax.device_get(jax.jit(jax.grad(loss))(params))
    for leaf in jax.tree.leaves(slopes):
        assert np.isfinite(leaf).all()
        assert leaf.any()


def test_inputs_without_a_batch_axis_are_refused(keys):
    params, extras, apply = transformer(keys)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        apply(params, extras, np.zeros(3, np.int32))


def test_dropout_keeps_the_mean_and_drops_the_given_share(keys):
    ones = np.ones((200, 200), np.float32)
    out = np.asarray(jax.jit(partial(dropout, rate=0.25))(ones, rng=next(keys)))
    assert abs(np.mean(out == 0.0) - 0.25) < 0.01
    assert abs(out.mean() - 1.0) < 0.02
    np.testing.assert_array_equal(dropout(ones, rate=0.25, rng=None), ones)
    with pytest.raises(ValueError, match="rate"):
        dropout(ones, rate=1.0, rng=next(keys))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(dict(position=rotary, qk_norm=True), id="rotary"),
        pytest.param(dict(key_heads=1), id="shared keys", marks=pytest.mark.slow),
        pytest.param(dict(bias=distance_bias), id="bias", marks=pytest.mark.slow),
        pytest.param(
            dict(norm_last=True, norm=nnx.LayerNorm),
            id="norm last",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_going_step_by_step_gives_what_the_whole_call_gives(keys, options):
    params, extras, apply = transformer(keys, **options)
    inputs = tokens(2, 7)
    whole, _ = apply(params, extras, inputs)
    cache, _ = apply(params, extras, method="empty_cache", batch=2, length=9)
    found = []
    for first, last in ((0, 3), (3, 4), (4, 5), (5, 7)):
        step = apply(params, extras, inputs[:, first:last], cache, method="step")
        (scores, cache), _ = step
        found.append(scores)
    np.testing.assert_allclose(
        np.concatenate(found, axis=1), whole, rtol=1e-4, atol=1e-5
    )


def test_a_full_cache_forgets_its_oldest_places(keys):
    params, extras, apply = transformer(keys, position=rotary, layers=1)
    inputs = tokens(1, 9)
    cache, _ = apply(params, extras, method="empty_cache", batch=1, length=4)
    for place in range(9):
        step = inputs[:, place : place + 1]
        (scores, cache), _ = apply(params, extras, step, cache, method="step")
    want, _ = apply(params, extras, inputs[:, 5:], positions=np.arange(5, 9))
    last, known = np.asarray(scores)[:, 0], np.asarray(want)[:, 3]
    np.testing.assert_allclose(last, known, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="room for 4 places, got 9"):
        apply(params, extras, inputs, cache, method="step")


def test_without_causality_every_place_sees_all_others(keys):
    model, inputs = transformer(keys, is_causal=False), tokens()
    got, want = (scores_of(model, x) for x in (others(inputs, -1), inputs))
    assert np.abs(got[:, 0] - want[:, 0]).min(axis=0).max() > 1e-4
    turned = scores_of(model, inputs[:, ::-1])
    np.testing.assert_allclose(turned[:, ::-1], want, rtol=1e-4, atol=1e-5)


def test_a_mask_is_made_of_what_stands_beside_the_tokens(keys):
    def first(seen):
        return jnp.broadcast_to(seen[:, None, None, :], (2, 1, 6, 6))

    model = transformer(keys, is_causal=False, mask=first)
    inputs, seen = tokens(), np.arange(6) < np.array([[6], [4]])
    got, want = (scores_of(model, x, seen=seen) for x in (others(inputs, 5), inputs))
    np.testing.assert_array_equal(got[1, :5], want[1, :5])
    assert np.abs(got[0, :5] - want[0, :5]).max() > 1e-4
    params, extras, apply = transformer(keys)
    with pytest.raises(ValueError, match="no mask is made of seen"):
        apply(params, extras, inputs, seen=seen)


class Scaled(nnx.Module):
    """Softmax attention with a temperature of its own for each head."""

    def __init__(self, *, heads, head_size, rngs):
        self.scale = nnx.Param(jnp.full((1, heads, 1, 1), head_size**-0.5))

    def __call__(self, query, key, value, mask=None, *, is_causal=False):
        return softmax_attention(
            query, key, value, mask, is_causal=is_causal, scale=self.scale[...]
        )


def test_an_attention_with_parameters_is_a_class_where_others_are_functions(keys):
    params, extras, apply = transformer(keys, attention=Scaled)
    _, _, plainly = transformer(keys)
    same = jax.tree.map(np.asarray, params)
    for block in same["stack"]["blocks"].values():
        assert block["mixer"]["attention"]["scale"].shape == (1, 2, 1, 1)
        del block["mixer"]["attention"]
    inputs = tokens()
    want, _ = plainly(same, extras, inputs)
    np.testing.assert_allclose(apply(params, extras, inputs)[0], want, rtol=1e-6)


def test_positions_are_given_to_an_attention_that_asks_for_them(keys):
    def nearest(
        query, key, value, mask=None, *, is_causal, query_positions, key_positions
    ):
        far = jnp.abs(query_positions[:, None] - key_positions[None, :])
        bias = -100.0 * far[None, None].astype(jnp.float32)
        return softmax_attention(query, key, value, mask, is_causal=True, bias=bias)

    model, inputs = transformer(keys, attention=nearest, layers=1), tokens()
    mixed = others(inputs, slice(5))
    got, want = (scores_of(model, x)[:, 5] for x in (mixed, inputs))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_combined_is_refused_when_it_is_made(keys):
    def takes_none(query, key, value, mask=None, *, is_causal=False):
        return value

    with pytest.raises(ValueError, match="takes no bias"):
        transformer(keys, attention=takes_none, bias=distance_bias)
    with pytest.raises(ValueError, match="rotary does not go with linear_attention"):
        transformer(keys, attention=linear_attention, position=rotary)
    with pytest.raises(ValueError, match="key_heads must divide 2"):
        transformer(keys, key_heads=3)
    params, extras, apply = transformer(keys, is_causal=False)
    with pytest.raises(ValueError, match="only a causal model"):
        apply(params, extras, tokens(), None, method="step")
