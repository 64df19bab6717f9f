from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.blocked import blocked_attention
from kexue_jax.nn import positions, relative, synthesizer
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.blocks import Stack
from kexue_jax.nn.cross_attention import CrossAttention
from kexue_jax.nn.encoder_decoder import EncoderDecoder
from kexue_jax.nn.functional import functional
from kexue_jax.nn.linear_attention import LinearSelfAttention
from kexue_jax.position.rotary import rotary

SIZES = dict(heads=2, head_size=4)
READER = partial(CrossAttention, **SIZES)
KINDS = {
    "rotary": dict(mixer=partial(SelfAttention, **SIZES, position=rotary)),
    "t5": dict(mixer=partial(SelfAttention, **SIZES, bias=positions.BucketBias)),
    "linear": dict(
        mixer=partial(SelfAttention, **SIZES, position=rotary),
        decoder_mixer=partial(LinearSelfAttention, **SIZES),
        reader=partial(READER, key_heads=1, attention=blocked_attention),
        position=partial(positions.LearnedPositions, length=9),
        norm_last=True,
        tied=False,
    ),
}


def model(keys, name="rotary", **options):
    settings: dict = dict(
        features=8, encoder_layers=1, decoder_layers=2, hidden=16, reader=READER
    )
    make = partial(EncoderDecoder, 11, **settings | KINDS[name] | options)
    init, apply = functional(make)
    static = ("train", "method", "length")
    return *jax.jit(init)(next(keys)), jax.jit(apply, static_argnames=static)


def batch(source=5, length=6):
    draws = np.random.default_rng(0)
    tokens, others = (draws.integers(0, 11, (2, n), np.int32) for n in (length, source))
    kept = np.arange(source) < np.array([[source], [source - 2]])
    return tokens, dict(source=others, source_kept=kept)


@pytest.mark.parametrize("name", ["linear", pytest.param("t5", marks=pytest.mark.slow)])
def test_a_place_sees_the_source_and_the_tokens_up_to_itself(keys, name):
    params, extras, apply = model(keys, name)
    tokens, beside = batch()
    other = (tokens + (np.arange(6) > 2)) % 11
    turned = beside | {"source": (beside["source"] + 1) % 11}
    before, after, moved = (
        np.asarray(apply(params, extras, own, **more)[0])
        for own, more in ((tokens, beside), (other, beside), (tokens, turned))
    )
    np.testing.assert_allclose(after[:, :3], before[:, :3], rtol=1e-5, atol=1e-5)
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 1e-3
    assert (np.abs(moved - before).max(axis=(0, 2)) > 1e-3).all()


def test_tokens_that_are_not_kept_change_nothing_whatever_they_are(keys):
    params, extras, apply = model(keys)
    tokens, beside = batch()
    hidden = np.where(beside["source_kept"], beside["source"], 10)
    shown = dict(source=hidden, source_kept=hidden < 99)
    got, want = (
        np.asarray(apply(params, extras, tokens, **more)[0]) for more in (shown, beside)
    )
    np.testing.assert_allclose(got[0], want[0], rtol=1e-5, atol=1e-5)
    assert np.abs(got[1] - want[1]).max() > 1e-3
    got, _ = apply(params, extras, tokens, **beside | {"source": hidden})
    np.testing.assert_array_equal(got, want)
    short = {name: x[1:, :3] for name, x in beside.items()}
    alone, _ = apply(params, extras, tokens[1:], **short)
    np.testing.assert_allclose(alone, want[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["linear", *(pytest.param(n, marks=pytest.mark.slow) for n in ("rotary", "t5"))],
)
def test_going_step_by_step_gives_what_the_whole_call_gives(keys, name):
    params, extras, apply = model(keys, name)
    tokens, beside = batch()
    want, _ = apply(params, extras, tokens, **beside)
    cache, _ = apply(params, extras, *beside.values(), method="read", length=8)
    found = []
    for first, last in ((0, 3), (3, 4), (4, 6)):
        step, _ = apply(params, extras, tokens[:, first:last], cache, method="step")
        scores, cache = step
        found.append(scores)
    got = np.concatenate(found, axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_source_without_a_token_gives_finite_scores_and_gradients(keys):
    params, extras, apply = model(keys)
    tokens, beside = batch()
    nothing = beside | {"source_kept": np.zeros((2, 5), bool)}

    def loss(p):
        scores = apply(p, extras, tokens, **nothing)[0]
        return jax.nn.logsumexp(scores, axis=-1).sum()

    value, slope = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_finite_and_reach_every_parameter(keys, name):
    params, extras, apply = model(keys, name)
    tokens, beside = batch()

    def loss(p):
        return jnp.sum(jnp.square(apply(p, extras, tokens, **beside)[0]))

    slopes = jax.device_get(jax.jit(jax.grad(loss))(params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert leaf.any(), path


def test_dropout_follows_its_key_and_acts_in_training_alone(keys):
    params, extras, apply = model(keys, dropout_rate=0.5)
    tokens, beside = batch()
    first, second = next(keys), next(keys)
    plain, same, one, other = (
        np.asarray(apply(params, extras, tokens, **beside, **more)[0])
        for more in (
            {},
            {"rng": first},
            {"train": True, "rng": first},
            {"train": True, "rng": second},
        )
    )
    np.testing.assert_array_equal(plain, same)
    assert np.abs(one - plain).max() > 1e-3 < np.abs(one - other).max()
    with pytest.raises(ValueError, match="needs a key"):
        apply(params, extras, tokens, **beside, train=True)


def test_cross_attention_is_attention_to_what_is_remembered(keys):
    make = partial(CrossAttention, 8, **SIZES, key_heads=1)
    init, apply = functional(make)
    params, extras = jax.jit(init)(next(keys))
    draws = np.random.default_rng(0)
    inputs, memory = (draws.normal(size=(2, n, 8)).astype(np.float32) for n in (3, 5))

    @jax.jit
    def attended(params, inputs, memory):
        remembered, _ = apply(params, extras, memory, method="remembered")
        return apply(params, extras, inputs, remembered)[0]

    got = attended(params, inputs, memory)
    maps = {name: np.asarray(part["kernel"]) for name, part in params.items()}
    query = (inputs @ maps["query"]).reshape(2, 3, 2, 4)
    key, value = (memory @ maps[name] for name in ("key", "value"))
    scores = np.einsum("btnh,bsh->bnts", *map(np.float64, (query, key))) / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    mixed = np.einsum("bnts,bsh->btnh", weights, np.float64(value)).reshape(2, 3, 8)
    want = mixed @ np.float64(maps["output"])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_honoured_is_refused_by_name():
    tokens, beside = batch()
    mixer = KINDS["rotary"]["mixer"]
    make = partial(
        EncoderDecoder,
        features=8,
        encoder_layers=1,
        decoder_layers=1,
        hidden=8,
        mixer=mixer,
        reader=READER,
        rngs=nnx.Rngs(0),
    )
    whole = make(11)
    with pytest.raises(ValueError, match=r"source must be \[B, S\].*\(2, 5\).*\(2, 4"):
        whole(tokens, source=beside["source"], source_kept=tokens[:, :4])
    with pytest.raises(ValueError, match=r"tokens must be \[B, T\], got \(6,\)"):
        whole(tokens[0], **beside)
    with pytest.raises(ValueError, match="sequences have no distance"):
        make(11, reader=partial(READER, attention=relative.ShawAttention))
    with pytest.raises(ValueError, match="vocabulary must be at least 1, got 0"):
        make(0)
    with pytest.raises(ValueError, match="a memory but no reader"):
        whole.encoder.remembered(np.ones((1, 3, 8), np.float32))
    with pytest.raises(ValueError, match="a reader but no memory"):
        whole.decoder.remembered(None)


def test_a_mixer_without_steps_cannot_decode():
    table = partial(
        synthesizer.Synthesizer,
        **SIZES,
        length=8,
        scores=(synthesizer.RandomScores,),
    )
    stack = Stack(8, layers=1, hidden=8, mixer=table, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Synthesizer cannot go step by step"):
        stack.empty_cache(1, 8)
