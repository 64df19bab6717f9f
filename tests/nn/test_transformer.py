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


def tokens(keys, shape=(2, 6)):
    return jax.random.randint(next(keys), shape, 0, 11)


def slow(params, inputs, layers=2, heads=2, size=4, qk_norm=False):
    """The causal model without positions, in float64, one place at a time."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt(np.mean(x**2, -1, keepdims=True) + 1e-6) * scale

    table, output = (p["vocabulary"].get(n) for n in ("embedding", "output"))
    out = []
    for row in np.asarray(inputs):
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
    inputs = tokens(keys)
    got, _ = apply(params, extras, inputs)
    want = slow(params, inputs, qk_norm=qk_norm)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_with_zeros_for_the_last_maps_blocks_begin_as_the_identity(keys):
    options = dict(output_init=jax.nn.initializers.zeros)
    params, extras, apply = transformer(keys, **options)
    inputs = tokens(keys)
    got, _ = apply(params, extras, inputs)
    table = params["vocabulary"]["embedding"]
    stream = table[inputs]
    stream = stream * jax.lax.rsqrt(jnp.mean(stream**2, -1, keepdims=True))
    np.testing.assert_allclose(got, stream @ table.T, rtol=1e-4, atol=1e-4)
    params, extras, apply = transformer(keys, tied=False, **options)
    np.testing.assert_array_equal(apply(params, extras, inputs)[0], 0.0)


def test_with_qk_norm_the_scores_of_attention_do_not_grow_with_the_weights(keys):
    params, extras, apply = transformer(keys, qk_norm=True)
    larger = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * (1e3 if "query" in str(path) else 1.0), params
    )
    inputs = tokens(keys)
    got, want = (apply(p, extras, inputs)[0] for p in (larger, params))
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("position", [None, rotary])
def test_later_tokens_do_not_change_earlier_scores(keys, position):
    params, extras, apply = transformer(keys, position=position)
    inputs = tokens(keys)
    other = inputs.at[:, 3:].set((inputs[:, 3:] + 1) % 11)
    got, want = (apply(params, extras, x)[0] for x in (other, inputs))
    np.testing.assert_allclose(got[:, :3], want[:, :3], rtol=1e-5, atol=1e-6)
    assert jnp.abs(got[:, 3:] - want[:, 3:]).max() > 1e-3


def test_without_positions_one_layer_cannot_tell_the_order_of_the_past(keys):
    inputs = jnp.array([[1, 2, 3, 4], [2, 1, 3, 4]])
    gaps = []
    for position in (None, rotary):
        params, extras, apply = transformer(keys, position=position, layers=1)
        scores, _ = apply(params, extras, inputs)
        gaps.append(float(jnp.abs(scores[0, -1] - scores[1, -1]).max()))
    assert gaps[0] < 1e-5 < 1e-3 < gaps[1]


def test_a_single_token_is_a_sequence(keys):
    params, extras, apply = transformer(keys, position=rotary)
    scores, _ = apply(params, extras, tokens(keys, (1, 1)))
    assert scores.shape == (1, 1, 11)
    assert jnp.isfinite(scores).all()


def test_dropout_acts_in_training_alone_and_follows_its_key(keys):
    params, extras, apply = transformer(keys, dropout_rate=0.5)
    inputs, one, two = tokens(keys), next(keys), next(keys)
    still = [apply(params, extras, inputs, rng=key)[0] for key in (None, one)]
    np.testing.assert_array_equal(*still)
    runs = [
        apply(params, extras, inputs, train=True, rng=k)[0] for k in (one, one, two)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert jnp.abs(runs[0] - runs[2]).max() > 1e-3
    assert jnp.abs(runs[0] - still[0]).max() > 1e-3


def test_training_with_dropout_but_no_key_is_refused(keys):
    params, extras, apply = transformer(keys, dropout_rate=0.5)
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, extras, tokens(keys), train=True)


def test_an_untied_output_has_its_own_table(keys):
    tied, _, _ = transformer(keys)
    untied, extras, apply = transformer(keys, tied=False)
    tables = untied["vocabulary"]
    assert "output" not in tied["vocabulary"]
    assert tables["output"].shape == (11, 8)
    zeros = untied | {"vocabulary": tables | {"output": jnp.zeros((11, 8))}}
    assert not apply(zeros, extras, tokens(keys))[0].any()


def test_scores_are_float32_and_close_when_params_are_bfloat16(keys):
    params, extras, apply = transformer(keys, position=rotary)
    inputs = tokens(keys)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    got, _ = jax.jit(apply)(half, extras, inputs)
    want, _ = apply(params, extras, inputs)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=0.1, atol=0.1)


def test_gradients_are_finite_and_reach_every_parameter(keys):
    params, extras, apply = transformer(keys, position=rotary)
    inputs = tokens(keys)

    def loss(p):
        return jnp.sum(jnp.square(apply(p, extras, inputs)[0]))

    for leaf in jax.tree.leaves(jax.jit(jax.grad(loss))(params)):
        assert jnp.isfinite(leaf).all()
        assert leaf.any()


def test_inputs_without_a_batch_axis_are_refused(keys):
    params, extras, apply = transformer(keys)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        apply(params, extras, jnp.zeros(3, jnp.int32))


def test_dropout_keeps_the_mean_and_drops_the_given_share(keys):
    ones = jnp.ones((200, 200))
    out = dropout(ones, rate=0.25, rng=next(keys))
    assert abs(float(jnp.mean(out == 0.0)) - 0.25) < 0.01
    assert abs(float(out.mean()) - 1.0) < 0.02
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
    inputs = tokens(keys, (2, 7))
    whole, _ = apply(params, extras, inputs)
    cache, _ = apply(params, extras, method="empty_cache", batch=2, length=9)
    found = []
    for first, last in ((0, 3), (3, 4), (4, 5), (5, 7)):
        step = apply(params, extras, inputs[:, first:last], cache, method="step")
        (scores, cache), _ = step
        found.append(scores)
    np.testing.assert_allclose(
        jnp.concatenate(found, axis=1), whole, rtol=1e-4, atol=1e-5
    )


def test_a_full_cache_forgets_its_oldest_places(keys):
    params, extras, apply = transformer(keys, position=rotary, layers=1)
    inputs = tokens(keys, (1, 9))
    cache, _ = apply(params, extras, method="empty_cache", batch=1, length=4)
    for place in range(9):
        step = inputs[:, place : place + 1]
        (scores, cache), _ = apply(params, extras, step, cache, method="step")
    want, _ = apply(params, extras, inputs[:, 5:], positions=jnp.arange(5, 9))
    np.testing.assert_allclose(scores[:, 0], want[:, 3], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="room for 4 places, got 9"):
        apply(params, extras, inputs, cache, method="step")


def test_without_causality_every_place_sees_all_others(keys):
    params, extras, apply = transformer(keys, is_causal=False)
    inputs = tokens(keys)
    other = inputs.at[:, -1].set((inputs[:, -1] + 1) % 11)
    got, want = (apply(params, extras, x)[0] for x in (other, inputs))
    assert float(jnp.abs(got[:, 0] - want[:, 0]).min(axis=0).max()) > 1e-4
    turned, _ = apply(params, extras, inputs[:, ::-1])
    np.testing.assert_allclose(turned[:, ::-1], want, rtol=1e-4, atol=1e-5)


def test_a_mask_is_made_of_what_stands_beside_the_tokens(keys):
    def first(seen):
        return jnp.broadcast_to(seen[:, None, None, :], (2, 1, 6, 6))

    params, extras, apply = transformer(keys, is_causal=False, mask=first)
    inputs, seen = tokens(keys), jnp.arange(6)[None] < jnp.array([[6], [4]])
    other = inputs.at[:, 5].set((inputs[:, 5] + 1) % 11)
    got, want = (apply(params, extras, x, seen=seen)[0] for x in (other, inputs))
    np.testing.assert_array_equal(got[1, :5], want[1, :5])
    assert jnp.abs(got[0, :5] - want[0, :5]).max() > 1e-4
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
    same = jax.tree.map(lambda x: x, params)
    for block in same["stack"]["blocks"].values():
        assert block["mixer"]["attention"]["scale"].shape == (1, 2, 1, 1)
        del block["mixer"]["attention"]
    inputs = tokens(keys)
    want, _ = plainly(same, extras, inputs)
    np.testing.assert_allclose(apply(params, extras, inputs)[0], want, rtol=1e-6)


def test_positions_are_given_to_an_attention_that_asks_for_them(keys):
    def nearest(
        query, key, value, mask=None, *, is_causal, query_positions, key_positions
    ):
        far = jnp.abs(query_positions[:, None] - key_positions[None, :])
        bias = -100.0 * far[None, None].astype(jnp.float32)
        return softmax_attention(query, key, value, mask, is_causal=True, bias=bias)

    params, extras, apply = transformer(keys, attention=nearest, layers=1)
    inputs = tokens(keys)
    other = (inputs + 1) % 11
    mixed = jnp.where(jnp.arange(6)[None] == 5, inputs, other)
    got, want = (apply(params, extras, x)[0][:, 5] for x in (mixed, inputs))
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
        apply(params, extras, tokens(keys), None, method="step")
