import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.algorithms import memm
from kexue_jax.algorithms.linear_chain import (
    log_partition,
    sequence_scores,
    viterbi,
)
from kexue_jax.algorithms.memm import LowRank, dense

B, T, C = 4, 4, 3
KEPT = np.array([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], bool)
EVERY = [*itertools.product(range(C), repeat=T)]


def compiled(function, **options):
    """Compiled once for arguments of the same shapes; results are of the host."""
    called = jax.jit(function, **options)
    return lambda *args, **named: jax.device_get(called(*args, **named))


likelihood = compiled(memm.memm_log_likelihood, static_argnames="scale")
both = compiled(memm.bidirectional_log_likelihood, static_argnames="scale")
memm_chain = compiled(memm.memm_chain, static_argnames="scale")
bidirectional_chain = compiled(memm.bidirectional_chain, static_argnames="scale")
score, partition, best = map(compiled, (sequence_scores, log_partition, viterbi))


def drawn(seed=0, forbidden=False):
    draws = np.random.default_rng(seed)
    emissions = draws.normal(size=(B, T, C)).astype(np.float32)
    transitions = (2.0 * draws.normal(size=(C, C))).astype(np.float32)
    if forbidden:
        transitions[0, 1] = -np.inf
        transitions[2] = -np.inf  # nothing follows the tag 2
    return emissions, transitions, KEPT


def slow(emissions, transitions, tags, scale):
    """One row without hidden places, a softmax at a time in float64."""
    total, before = 0.0, None
    for row, tag in zip(np.float64(emissions), tags, strict=True):
        if before is not None:
            row = scale * (row + np.float64(transitions)[before])
        if row[tag] == -np.inf:
            return -np.inf
        total += row[tag] - scipy.special.logsumexp(row)
        before = tag
    return total


def table(emissions, transitions, scale, turned=False):
    """log p of every sequence of tags, ``[B, C ** T]``."""
    step = -1 if turned else 1
    moves = np.asarray(transitions).T if turned else np.asarray(transitions)
    return np.array(
        [
            [
                slow(np.asarray(e)[k][::step], moves, np.array(y)[k][::step], scale)
                for y in EVERY
            ]
            for e, k in zip(emissions, KEPT, strict=True)
        ]
    )


def ours(function, emissions, transitions):
    """The same by a function of batches, all in one batch."""
    tags = np.tile(np.array(EVERY), (B, 1))
    rows, kept = (np.repeat(a, len(EVERY), axis=0) for a in (emissions, KEPT))
    found = function(rows, transitions, tags, kept)
    return found.reshape(B, len(EVERY))


@pytest.mark.parametrize(("scale", "forbidden"), [(1.0, False), (0.5, True)])
def test_likelihoods_are_products_of_softmaxes_and_those_of_the_chain(scale, forbidden):
    emissions, transitions, kept = drawn(forbidden=forbidden)
    forward = table(emissions, transitions, scale)
    backward = table(emissions, transitions, scale, turned=True)
    for direct, chain_of, want in (
        (likelihood, memm_chain, forward),
        (both, bidirectional_chain, 0.5 * (forward + backward)),
    ):
        got = ours(partial(direct, scale=scale), emissions, transitions)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        assert not got[3].any()
        chain = chain_of(emissions, transitions, kept, scale=scale)
        got = ours(score, *chain)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_probabilities_of_all_sequences_sum_to_1_and_of_the_mean_to_less():
    emissions, transitions, kept = drawn()
    chain = memm_chain(emissions, transitions, kept, scale=1.0)
    np.testing.assert_allclose(partition(*chain, kept), 0.0, atol=1e-5)
    chain = bidirectional_chain(emissions, transitions, kept, scale=1.0)
    assert (partition(*chain, kept)[:2] < -1e-3).all()


def test_without_transitions_it_is_a_softmax_of_each_place():
    emissions, _, kept = drawn()
    tags = np.random.default_rng(1).integers(0, C, (B, T))
    each = scipy.special.log_softmax(np.float64(emissions), axis=-1)
    own = np.take_along_axis(each, tags[..., None], -1)[..., 0]
    want = (own * KEPT).sum(axis=1)
    for function in (likelihood, both):
        got = function(emissions, np.zeros((C, C)), tags, kept)
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_the_two_decodings_differ_and_each_finds_its_best():
    emissions, transitions, kept = drawn(seed=2)
    exact = best(*memm_chain(emissions, transitions, kept, scale=1.0), kept)
    plain = best(emissions, transitions, kept)
    every = table(emissions, transitions, 1.0)
    np.testing.assert_allclose(exact.scores, every.max(axis=1), rtol=1e-4, atol=1e-5)
    found = likelihood(emissions, transitions, plain.tags, kept)
    assert (found <= exact.scores + 1e-5).all()
    assert (exact.tags != plain.tags).any()


def test_low_rank_transitions_are_their_product():
    emissions, _, kept = drawn()
    draws = np.random.default_rng(3).normal(size=(2, C, 2)).astype(np.float32)
    low = LowRank(*draws)
    np.testing.assert_allclose(dense(low), draws[0] @ draws[1].T, rtol=1e-5, atol=1e-6)
    tags = np.ones((B, T), np.int32)
    for function in (likelihood, both):
        want = function(emissions, dense(low), tags, kept)
        np.testing.assert_allclose(
            function(emissions, low, tags, kept), want, rtol=1e-5, atol=1e-6
        )
    got, want = (bidirectional_chain(emissions, a, kept) for a in (low, dense(low)))
    np.testing.assert_allclose(got.emissions, want.emissions, rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_where_moves_are_forbidden():
    emissions, transitions, kept = drawn(forbidden=True)
    allowed = transitions > -np.inf
    tags = np.zeros((B, T), np.int32)
    tags[1] = 2  # a move from 2 is forbidden

    @partial(jax.grad, argnums=(0, 1))
    def grads(emissions, weights):
        moves = jnp.where(allowed, weights, -jnp.inf)
        found = memm.bidirectional_log_likelihood(emissions, moves, tags, kept)
        chain = memm.bidirectional_chain(emissions, moves, kept)
        return jnp.sum(jnp.where(found > -jnp.inf, found, 0.0)) + jnp.sum(
            log_partition(*chain, kept)
        )

    found = compiled(grads)(emissions, np.zeros((C, C)))
    assert all(np.isfinite(g).all() for g in found)
    assert not found[0][~KEPT].any()


def test_what_hidden_places_hold_does_not_matter():
    emissions, transitions, kept = drawn()
    other = np.where(kept[..., None], emissions, np.float32(np.inf))
    tags = np.where(kept, 1, 99)
    for function in (likelihood, both):
        got = function(other, transitions, tags, kept)
        np.testing.assert_array_equal(got, function(emissions, transitions, tags, kept))
    chains = [bidirectional_chain(e, transitions, kept) for e in (emissions, other)]
    np.testing.assert_array_equal(*(best(*chain, kept).scores for chain in chains))


def test_bfloat16_is_computed_in_float32():
    emissions, transitions, kept = drawn()
    low = emissions.astype(jnp.bfloat16), transitions.astype(jnp.bfloat16)
    tags = np.zeros((B, T), np.int32)
    got = likelihood(*low, tags, kept)
    assert got.dtype == np.float32
    want = likelihood(*(x.astype(np.float32) for x in low), tags, kept)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_wrong_arguments_are_refused():
    emissions, transitions, kept = drawn()
    tags = np.zeros((B, T), np.int32)
    for wrong in (
        (emissions[0], transitions, kept),
        (emissions, transitions[:2], kept),
        (emissions, LowRank(transitions[:, :2], transitions), kept),
        (emissions, LowRank(transitions[0], transitions[0]), kept),
        (emissions, transitions, tags),
    ):
        with pytest.raises(ValueError, match="emissions, transitions and kept must be"):
            memm.memm_chain(*wrong)
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        memm.memm_chain(emissions, transitions, kept, scale=0.0)
    with pytest.raises(ValueError, match=r"tags must be integers \(4, 4\)"):
        memm.memm_log_likelihood(emissions, transitions, emissions[..., 0], kept)
