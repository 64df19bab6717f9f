import functools
from functools import partial

import jax
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
ALLOWED = allowed_transitions(NAMES, "BMES")
KEPT = np.arange(6)[None] < np.array([6, 4, 1, 0])[:, None]
EMISSIONS = 3.0 * np.random.default_rng(0).normal(size=(4, 6, C)).astype(np.float32)
viterbi = jax.jit(linear_chain.viterbi)


@functools.cache
def made(constrained):
    """Weights, ``loss(params, tags, kept)`` with gradients, and ``decode()``."""
    allowed = ALLOWED if constrained else None
    init, apply = functional(partial(LinearChain, C, allowed=allowed))
    params, extras = jax.jit(init)(jax.random.key(0))
    assert not extras

    @jax.jit
    @jax.value_and_grad
    def loss(params, tags, kept):
        return apply(params, {}, EMISSIONS, tags, kept, method="loss")[0]

    decode = jax.jit(partial(apply, method="decode"))
    return params, loss, lambda: decode(params, {}, EMISSIONS, KEPT)[0]


def test_without_a_constraint_it_is_the_linear_chain():
    params, loss, decode = made(constrained=False)
    assert {k: v.shape for k, v in params.items()} == {"transitions": (C, C)}
    tags = np.zeros((4, 6), np.int32)
    chain = EMISSIONS, params["transitions"]
    want = jax.jit(linear_chain.log_likelihood)(*chain, tags, KEPT)
    got, _ = loss(params, tags, KEPT)
    np.testing.assert_allclose(got, -np.sum(want) / 3, rtol=1e-5)
    for got, want in zip(decode(), viterbi(*chain, KEPT), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)
    nothing, grads = loss(params, tags, KEPT & False)
    assert nothing == 0.0
    assert not np.asarray(grads["transitions"]).any()


def test_with_one_every_decoded_sequence_is_free_of_faults():
    params, _, decode = made(constrained=True)
    tags, scores = map(np.asarray, decode())
    for row, kept in zip(tags, KEPT, strict=True):
        names = [NAMES[tag] for tag in row[kept]]
        spans = strict_spans(names, "BMES")
        assert tags_of_spans(spans, len(names), "BMES") == names
    free = np.asarray(viterbi(EMISSIONS, params["transitions"], KEPT).scores)
    assert (scores <= free + 1e-5).all()
    assert (scores[:2] < free[:2] - 0.1).all()


def test_forbidden_moves_learn_nothing_and_a_forbidden_row_has_no_gradients():
    params, loss, _ = made(constrained=True)
    gold = tags_of_spans([(0, 3, "a"), (3, 4, "b")], 6, "BMES")
    tags = np.tile([NAMES.index(tag) for tag in gold], (4, 1)).astype(np.int32)
    tags[2] = 0
    value, grads = loss(params, tags, KEPT)
    assert 0.0 < value < np.inf
    grads = np.asarray(grads["transitions"])
    assert not grads[~ALLOWED.moves].any()
    assert grads[ALLOWED.moves].any()
    tags[1, 0] = NAMES.index("E-a")
    value, grads = loss(params, tags, KEPT)
    assert value == np.inf
    assert np.isfinite(np.asarray(grads["transitions"])).all()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="tags must be at least 1, got 0"):
        functional(partial(LinearChain, 0))
    allowed = allowed_transitions(NAMES[:3], "BMES")
    with pytest.raises(ValueError, match=r"allowed must be bool of .* with 9 tags"):
        functional(partial(LinearChain, C, allowed=allowed))
