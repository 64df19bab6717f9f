from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.deberta import deberta_attention_as_released
from kexue_jax.attention.feature_maps import exp_features
from kexue_jax.attention.grouped import grouped_attention
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.attention.taylor import taylor_attention
from kexue_jax.nn import positions, relative, synthesizer
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.functional import functional
from kexue_jax.nn.linear_attention import LinearSelfAttention, RandomFeatures
from kexue_jax.nn.transformer import Transformer
from kexue_jax.position.rotary import rotary

LENGTH, VOCABULARY = 8, 11
RANDOM = synthesizer.RandomScores
DENSE = synthesizer.DenseScores
SCORES = {
    "random": (RANDOM,),
    "fixed random": (synthesizer.FixedRandomScores,),
    "low-rank random": (partial(synthesizer.FactorizedRandomScores, rank=2),),
    "dense": (DENSE,),
    "factorized dense": (synthesizer.FactorizedDenseScores,),
    "products": (synthesizer.ProductScores,),
    "random and dense": (RANDOM, DENSE),
    "random and products": (RANDOM, synthesizer.ProductScores),
}
SIZES = dict(heads=2, head_size=4)
MIXERS = {
    name: partial(synthesizer.Synthesizer, **SIZES, length=LENGTH, scores=scores)
    for name, scores in SCORES.items()
} | {
    "linear": partial(LinearSelfAttention, **SIZES),
    "linear, rotated": partial(
        LinearSelfAttention, **SIZES, feature_map=exp_features, rotate=rotary
    ),
    "random features": partial(
        LinearSelfAttention,
        **SIZES,
        scale=0.5,
        feature_map=partial(RandomFeatures, features=6),
    ),
    "shaw": partial(
        SelfAttention, **SIZES, attention=partial(relative.ShawAttention, clip=2)
    ),
    "nezha": partial(
        SelfAttention, **SIZES, attention=partial(relative.NezhaAttention, clip=3)
    ),
    "untied": partial(
        SelfAttention,
        **SIZES,
        attention=partial(softmax_attention, scale=8**-0.5),
        bias=partial(positions.UntiedBias, length=LENGTH + 3, has_front=True),
    ),
    "shared heads": partial(
        SelfAttention,
        **SIZES,
        key_heads=1,
        attention=partial(grouped_attention, attention=taylor_attention),
    ),
    "xl": partial(SelfAttention, **SIZES, attention=relative.TransformerXLAttention),
    "deberta": partial(
        SelfAttention, **SIZES, attention=partial(relative.DebertaAttention, reach=3)
    ),
    "deberta as released": partial(
        SelfAttention,
        **SIZES,
        attention=partial(
            relative.DebertaAttention,
            reach=3,
            attention=deberta_attention_as_released,
        ),
    ),
    "alibi": partial(SelfAttention, **SIZES, bias=positions.AlibiBias),
    "t5": partial(
        SelfAttention, **SIZES, bias=partial(positions.BucketBias, buckets=8)
    ),
}
STEPPING = ["shaw", "nezha", "untied", "shared heads", "xl", "deberta", "alibi", "t5"]
# The penalties of ALiBi are symmetric and tell no left from right.
KNOWING = ["learned", "hierarchical", "flow", "shaw", "nezha", "untied", "xl"]
KNOWING += ["deberta", "t5"]
STEPPING += ["linear", "linear, rotated", "random features"]
ADDED = {
    "learned": partial(positions.LearnedPositions, length=LENGTH),
    "hierarchical": partial(positions.HierarchicalPositions, length=3),
    "flow": partial(positions.FlowPositions, length=LENGTH, hidden=4),
}


def some(names, *quick):
    """Names as parameters, all but a few of them slow."""
    return [
        pytest.param(name, marks=[] if name in quick else pytest.mark.slow)
        for name in names
    ]


def model(keys, mixer, **options):
    settings: dict = dict(features=8, layers=2, hidden=16, mixer=mixer)
    init, apply = functional(partial(Transformer, VOCABULARY, **settings | options))
    names = ("train", "method", "batch", "length")
    return *jax.jit(init)(next(keys)), jax.jit(apply, static_argnames=names)


def tokens(length=LENGTH):
    return np.random.default_rng(0).integers(0, VOCABULARY, (2, length), np.int32)


@pytest.mark.parametrize("name", some(MIXERS, "random and dense", "linear"))
def test_later_tokens_never_change_earlier_scores(keys, name):
    params, extras, apply = model(keys, MIXERS[name])
    inputs = tokens()
    other = inputs.copy()
    other[:, 4:] = (inputs[:, 4:] + 1) % VOCABULARY
    got, want = (np.asarray(apply(params, extras, x)[0]) for x in (other, inputs))
    np.testing.assert_allclose(got[:, :4], want[:, :4], rtol=1e-5, atol=1e-5)
    assert np.abs(got[:, 4:] - want[:, 4:]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", MIXERS)
def test_gradients_are_finite_and_reach_every_parameter(keys, name):
    params, extras, apply = model(keys, MIXERS[name], is_causal=False)
    inputs = tokens()

    def loss(p):
        return jnp.sum(jnp.square(apply(p, extras, inputs)[0]))

    slopes = jax.device_get(jax.jit(jax.grad(loss))(params))
    for path, leaf in jax.tree_util.tree_leaves_with_path(slopes):
        assert np.isfinite(leaf).all(), path
        assert leaf.any(), path


@pytest.mark.parametrize("name", some(STEPPING, "random features"))
def test_going_step_by_step_gives_what_the_whole_call_gives(keys, name):
    params, extras, apply = model(keys, MIXERS[name])
    inputs = tokens()
    whole, _ = apply(params, extras, inputs)
    cache, _ = apply(params, extras, method="empty_cache", batch=2, length=LENGTH + 3)
    found = []
    for first, last in ((0, 3), (3, 4), (4, 6), (6, LENGTH)):
        step = apply(params, extras, inputs[:, first:last], cache, method="step")
        (scores, cache), _ = step
        found.append(scores)
    got = np.concatenate(found, axis=1)
    np.testing.assert_allclose(got, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", some(KNOWING, "learned", "shaw"))
def test_with_positions_a_model_of_both_directions_knows_the_order(keys, name):
    plain = partial(SelfAttention, **SIZES)
    mixer = MIXERS.get(name, plain)
    position = ADDED.get(name)
    gaps = []
    for options in ({}, dict(position=position)):
        with_position = mixer if options else plain
        params, extras, apply = model(keys, with_position, is_causal=False, **options)
        inputs = tokens()
        turned, straight = (
            np.asarray(apply(params, extras, x)[0]) for x in (inputs[:, ::-1], inputs)
        )
        gaps.append(np.abs(turned[:, ::-1] - straight).max())
    assert gaps[0] < 1e-5 < 1e-3 < gaps[1]


def test_a_fixed_table_is_no_parameter_and_stays_as_it_was_drawn(keys):
    params, extras, apply = model(keys, MIXERS["fixed random"])
    assert not any(
        "table" in str(path) for path, _ in jax.tree.leaves_with_path(params)
    )
    _, after = apply(params, extras, tokens())
    for old, new in zip(*map(jax.tree.leaves, (extras, after)), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_state_of_linear_attention_does_not_grow_with_the_length(keys):
    params, extras, apply = model(keys, MIXERS["random features"])
    few, many = (
        apply(params, extras, method="empty_cache", batch=2, length=length)[0]
        for length in (4, 400)
    )
    assert jax.tree.map(jnp.shape, few) == jax.tree.map(jnp.shape, many)


def count(keys, scores, features=8, length=LENGTH):
    init, _ = functional(partial(scores, features, heads=2, length=length))
    params, _ = jax.eval_shape(init, next(keys))
    return sum(leaf.size for leaf in jax.tree.leaves(params)) // 2


def test_each_kind_of_scores_has_as_many_parameters_a_head_as_its_formula(keys):
    n, d, k = LENGTH, 8, 4
    assert count(keys, RANDOM) == n**2
    assert count(keys, synthesizer.FixedRandomScores) == 0
    assert count(keys, partial(synthesizer.FactorizedRandomScores, rank=3)) == 6 * n
    assert count(keys, partial(DENSE, hidden=k)) == d * k + k + k * n + n
    assert count(keys, partial(synthesizer.FactorizedDenseScores, high=2)) == d * (
        2 + 4
    )
    assert count(keys, partial(synthesizer.ProductScores, head_size=k)) == 2 * d * k


def test_inputs_beyond_the_greatest_length_are_refused(keys):
    params, extras, apply = model(keys, MIXERS["random"])
    with pytest.raises(ValueError, match="length must be 0 to 8"):
        apply(params, extras, tokens(LENGTH + 1))
    with pytest.raises(ValueError, match="cannot go step by step"):
        apply(params, extras, method="empty_cache", batch=1, length=4)
    with pytest.raises(ValueError, match="at least one kind"):
        model(keys, partial(synthesizer.Synthesizer, **SIZES, length=8, scores=()))
    with pytest.raises(ValueError, match="high must divide"):
        count(keys, partial(synthesizer.FactorizedDenseScores, high=3))


@pytest.mark.parametrize("name", ["linear, rotated", "random", "shaw"])
def test_positions_that_a_mixer_cannot_honour_are_refused(keys, name):
    params, extras, apply = model(keys, MIXERS[name])
    with pytest.raises(ValueError, match=r"positions must be None, got .*\(8,\)"):
        apply(params, extras, tokens(), positions=np.arange(LENGTH) + 1)


@pytest.mark.parametrize(
    "attention",
    [relative.ShawAttention, partial(relative.DebertaAttention, reach=3)],
)
def test_attention_with_distances_of_its_own_refuses_a_rotation(attention):
    make = partial(SelfAttention, 8, **SIZES, attention=attention, position=rotary)
    with pytest.raises(ValueError, match="relative positions of its own"):
        make(rngs=nnx.Rngs(0))


def test_positions_of_a_model_whose_mixer_has_none_are_added_to_its_embeddings(keys):
    params, extras, apply = model(
        keys, MIXERS["linear"], position=partial(positions.LearnedPositions, length=20)
    )
    inputs = tokens()
    plain, at_zero, later = (
        np.asarray(apply(params, extras, inputs, positions=where)[0])
        for where in (None, np.arange(LENGTH), np.arange(LENGTH) + 5)
    )
    np.testing.assert_array_equal(plain, at_zero)
    assert np.abs(later - plain).max() > 1e-3
