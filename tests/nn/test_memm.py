import itertools
from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from kexue_jax.algorithms.tagging import (
    allowed_transitions,
    strict_spans,
    tag_names,
    tags_of_spans,
)
from kexue_jax.nn.functional import functional
from kexue_jax.nn.memm import MaximumEntropyMarkov

NAMES = tag_names(["a"], "BMES")
C = len(NAMES)
ALLOWED = allowed_transitions(NAMES, "BMES")
KEPT = np.array([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
EMISSIONS = 2.0 * np.random.default_rng(0).normal(size=(4, 4, C)).astype(np.float32)


def log_likelihoods(emissions, moves, first, last):
    """By the definition, of all sequences of one row without hidden places."""
    length, scores = len(emissions), {}
    emissions = np.array(emissions, np.float64)
    emissions[0, ~first] = -np.inf
    emissions[-1, ~last] = -np.inf
    start = log_softmax(emissions[0])
    for tags in itertools.product(range(C), repeat=length):
        total = start[tags[0]]
        for t in range(1, length):
            logits = emissions[t] + moves[tags[t - 1]]
            if not np.isfinite(logits).any():
                total = -np.inf
                break
            total = total + log_softmax(logits)[tags[t]]
        scores[tags] = total
    return scores


def both_ways(emissions, moves, first, last):
    forward = log_likelihoods(emissions, moves, first, last)
    backward = log_likelihoods(emissions[::-1], moves.T, last, first)
    return {tags: 0.5 * (forward[tags] + backward[tags[::-1]]) for tags in forward}


@pytest.fixture(scope="module", params=[False, True], ids=["one way", "both ways"])
def made(request):
    init, apply = functional(
        partial(MaximumEntropyMarkov, C, bidirectional=request.param, allowed=ALLOWED)
    )
    params, _ = init(jax.random.key(0))
    moves = np.where(ALLOWED.moves, np.float64(params["transitions"]), -np.inf)
    rows = [EMISSIONS[i][kept] for i, kept in enumerate(KEPT)]
    define = both_ways if request.param else log_likelihoods
    known = [
        define(row, moves, ALLOWED.first, ALLOWED.last) if len(row) else {(): 0.0}
        for row in rows
    ]
    return params, apply, known


def test_loss_and_best_tags_are_those_of_the_definition(made):
    params, apply, known = made
    (tags, scores), _ = apply(params, {}, EMISSIONS, KEPT, method="decode")
    tags = np.asarray(tags)
    for row, score, kept, all_of_it in zip(tags, scores, KEPT, known, strict=True):
        best = max(all_of_it, key=all_of_it.__getitem__)
        assert tuple(row[kept].tolist()) == best
        np.testing.assert_allclose(score, all_of_it[best], rtol=1e-5, atol=1e-6)
        names = [NAMES[tag] for tag in best]
        assert tags_of_spans(strict_spans(names, "BMES"), len(best), "BMES") == names
    loss, _ = apply(params, {}, EMISSIONS, tags, KEPT, method="loss")
    total = sum(max(all_of_it.values()) for all_of_it in known)
    np.testing.assert_allclose(loss, -total / 3, rtol=1e-5)


def test_forbidden_moves_learn_nothing_and_a_forbidden_row_has_no_gradients(made):
    params, apply, known = made

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def loss(params, emissions, tags):
        return apply(params, {}, emissions, tags, KEPT, method="loss")[0]

    tags = np.zeros((4, 4), np.int32)
    for row, kept, all_of_it in zip(tags, KEPT, known, strict=True):
        row[kept] = min(
            (tags for tags, score in all_of_it.items() if score > -np.inf),
            key=all_of_it.__getitem__,
        )
    value, (slopes, into) = loss(params, EMISSIONS, tags)
    assert 0.0 < value < np.inf
    moves = np.asarray(slopes["transitions"])
    assert moves[ALLOWED.moves].any()
    assert not moves[~ALLOWED.moves].any()
    assert np.isfinite(np.asarray(into)).all()
    assert not np.asarray(into)[~KEPT].any()
    tags[0, 1] = NAMES.index("B-a") if tags[0, 0] == NAMES.index("B-a") else 0
    tags[0, 0] = NAMES.index("E-a")
    value, (slopes, into) = loss(params, EMISSIONS, tags)
    assert value == np.inf
    assert np.isfinite(np.asarray(slopes["transitions"])).all()
    assert np.isfinite(np.asarray(into)).all()


def test_without_a_constraint_probabilities_of_one_way_sum_to_one():
    init, apply = functional(partial(MaximumEntropyMarkov, C))
    params, _ = init(jax.random.key(1))
    rows = np.array([*itertools.product(range(C), repeat=2)], np.int32)
    emissions = np.broadcast_to(EMISSIONS[0, :2], (1, 2, C))
    kept = np.ones((1, 2), bool)
    loss = jax.jit(lambda t: apply(params, {}, emissions, t[None], kept, method="loss"))
    total = sum(np.exp(-float(loss(row)[0])) for row in rows)
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)
    nothing, _ = apply(params, {}, emissions, rows[:1], ~kept, method="loss")
    assert nothing == 0.0
