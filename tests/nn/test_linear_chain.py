from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms import linear_chain
from kexue_jax.algorithms.tagging import (
    allowed_transitions,
    strict_spans,
    tag_names,
    tags_of_spans,
)
from kexue_jax.nn.functional import functional
from kexue_jax.nn.linear_chain import LinearChain

NAMES = tag_names(["a", "b"], "BMES")
C = len(NAMES)
log_likelihood = jax.jit(linear_chain.log_likelihood)
viterbi = jax.jit(linear_chain.viterbi)
KEPT = np.arange(6)[None] < np.array([6, 4, 1, 0])[:, None]


def made(keys, allowed):
    init, apply = functional(partial(LinearChain, C, allowed=allowed))
    params, extras = jax.jit(init)(next(keys))
    draws = np.random.default_rng(0).normal(size=(4, 6, C))
    emissions = jnp.array(3.0 * draws, jnp.float32)
    loss = jax.jit(partial(apply, method="loss"))
    decode = jax.jit(partial(apply, method="decode"))
    return params, extras, emissions, loss, decode


def test_without_a_constraint_it_is_the_linear_chain(keys):
    params, extras, emissions, loss, decode = made(keys, None)
    assert {k: v.shape for k, v in params.items()} == {"transitions": (C, C)}
    assert not extras
    tags = jnp.zeros((4, 6), jnp.int32)
    got, _ = loss(params, extras, emissions, tags, KEPT)
    chain = emissions, params["transitions"]
    want = log_likelihood(*chain, tags, jnp.array(KEPT))
    np.testing.assert_allclose(got, -want.sum() / 3, rtol=1e-5)
    (tags, scores), _ = decode(params, extras, emissions, KEPT)
    want = viterbi(*chain, jnp.array(KEPT))
    np.testing.assert_array_equal(tags, want.tags)
    np.testing.assert_allclose(scores, want.scores, rtol=1e-6)
    assert loss(params, extras, emissions, tags, KEPT & False)[0] == 0.0


def test_with_one_every_decoded_sequence_is_free_of_faults(keys):
    allowed = allowed_transitions(NAMES, "BMES")
    params, extras, emissions, _, decode = made(keys, allowed)
    (tags, scores), _ = decode(params, extras, emissions, KEPT)
    for row, kept in zip(tags, KEPT, strict=True):
        names = [NAMES[tag] for tag in row[kept]]
        spans = strict_spans(names, "BMES")
        assert tags_of_spans(spans, len(names), "BMES") == names
    free = viterbi(emissions, params["transitions"], jnp.array(KEPT))
    assert (scores <= free.scores + 1e-5).all()
    assert (scores[:2] < free.scores[:2] - 0.1).all()


def test_forbidden_moves_learn_nothing_and_a_forbidden_row_is_left_out(keys):
    allowed = allowed_transitions(NAMES, "BMES")
    params, extras, emissions, loss, _ = made(keys, allowed)
    gold = tags_of_spans([(0, 3, "a"), (3, 4, "b")], 6, "BMES")
    tags = np.tile([NAMES.index(tag) for tag in gold], (4, 1)).astype(np.int32)
    tags[2] = 0

    def whole(params, tags):
        return loss(params, extras, emissions, tags, KEPT)[0]

    value, grads = jax.value_and_grad(whole)(params, tags)
    assert np.isfinite(value)
    assert value > 0.0
    assert not np.asarray(grads["transitions"])[~allowed.moves].any()
    assert np.asarray(grads["transitions"])[allowed.moves].any()
    wrong = tags.copy()
    wrong[1, 0] = NAMES.index("E-a")
    value, grads = jax.value_and_grad(whole)(params, wrong)
    assert value == np.inf
    assert np.isfinite(grads["transitions"]).all()


def test_wrong_arguments_are_refused(keys):
    with pytest.raises(ValueError, match="tags must be at least 1, got 0"):
        functional(partial(LinearChain, 0))
    allowed = allowed_transitions(NAMES[:3], "BMES")
    with pytest.raises(ValueError, match=r"allowed must be bool of .* with 9 tags"):
        functional(partial(LinearChain, C, allowed=allowed))
