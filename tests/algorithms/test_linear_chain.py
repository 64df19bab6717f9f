import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms import linear_chain


def compiled(function, **options):
    """Compiled once, as arguments are of the same shapes; results are of the host."""
    called = jax.jit(function, **options)
    return lambda *args, **named: jax.device_get(called(*args, **named))


def gradients(emissions, transitions, kept, tags, first, last, implementation="scan"):
    """The gradients of sums and the values, of partitions and of likelihoods."""

    def values(which, emissions, transitions, first, last):
        ends = dict(first=first, last=last, implementation=implementation)
        if which == 0:
            found = linear_chain.log_partition(emissions, transitions, kept, **ends)
        else:
            found = linear_chain.log_likelihood(
                emissions, transitions, tags, kept, **ends
            )
        return found.sum(), found

    arguments = emissions, transitions, first, last
    grad = jax.grad(values, (1, 2, 3, 4), has_aux=True)
    return grad(0, *arguments), grad(1, *arguments)


log_partition = compiled(linear_chain.log_partition, static_argnames="implementation")
sequence_scores = compiled(linear_chain.sequence_scores)
marginals = compiled(linear_chain.marginals)
n_best = compiled(linear_chain.n_best, static_argnames="count")
viterbi = compiled(linear_chain.viterbi)
pulled = compiled(gradients, static_argnames="implementation")

B, T, C = 5, 5, 3
KEPT = np.array(
    [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 0, 0],
        [0, 1, 0, 1, 1],  # hidden places may be anywhere
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ],
    bool,
)


def drawn(seed=0, forbidden=False):
    draws = np.random.default_rng(seed)
    emissions = draws.normal(size=(B, T, C)).astype(np.float32)
    transitions = draws.normal(size=(C, C)).astype(np.float32)
    first, last = draws.normal(size=(2, C)).astype(np.float32)
    if forbidden:
        transitions[0, 1] = transitions[2, 2] = -np.inf
        first[1] = last[2] = -np.inf
    return emissions, transitions, first, last


def enumerated(emissions, transitions, first, last):
    """Every sequence of tags of one row, and its score in float64."""
    found = {}
    for tags in itertools.product(range(C), repeat=len(emissions)):
        score = float(first[tags[0]]) + float(last[tags[-1]]) if tags else 0.0
        score += sum(float(row[tag]) for row, tag in zip(emissions, tags, strict=True))
        score += sum(float(transitions[pair]) for pair in itertools.pairwise(tags))
        found[tags] = score
    return found


def rows(seed=0, forbidden=False):
    """The arguments, and all sequences of each row's kept places."""
    emissions, transitions, first, last = drawn(seed, forbidden)
    every = [
        enumerated(e[k], transitions, first, last)
        for e, k in zip(emissions, KEPT, strict=True)
    ]
    return (emissions, transitions, KEPT), dict(first=first, last=last), every


def total(found):
    scores = np.array([*found.values()])
    return scores.max() + np.log(np.exp(scores - scores.max()).sum())


@pytest.fixture(scope="module", params=[False, True], ids=["free", "forbidden"])
def case(request):
    return rows(forbidden=request.param)


@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_the_partition_is_the_sum_over_all_sequences(case, implementation):
    arguments, ends, every = case
    got = log_partition(*arguments, **ends, implementation=implementation)
    np.testing.assert_allclose(got, [total(e) for e in every], rtol=1e-5, atol=1e-5)


def test_scores_and_likelihoods_are_those_of_the_sum_of_parts(case):
    (emissions, transitions, kept), ends, every = case
    draws = np.random.default_rng(1)
    for _ in range(4):
        tags = draws.integers(0, C, (B, T))
        own = [tuple(t[k].tolist()) for t, k in zip(tags, KEPT, strict=True)]
        want = np.array([found[t] for found, t in zip(every, own, strict=True)])
        arrays = emissions, transitions, tags, kept
        got = sequence_scores(*arrays, **ends)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        want -= [total(found) for found in every]
        (_, got) = pulled(emissions, transitions, kept, arrays[2], **ends)[1]
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        assert (got <= 1e-6).all()
        assert got[-1] == 0.0


def counted(every):
    """Marginals by adding up the probabilities of all sequences."""
    nodes, edges = np.zeros((B, T, C)), np.zeros((B, T - 1, C, C))
    for b, found in enumerate(every):
        places = np.flatnonzero(KEPT[b])
        for tags, score in found.items():
            p = np.exp(score - total(found))
            nodes[b, places, list(tags)] += p
            for i in range(1, len(tags)):
                edges[b, places[i] - 1, tags[i - 1], tags[i]] += p
    return nodes, edges


def test_marginals_are_sums_of_probabilities_and_gradients_of_the_partition(case):
    arguments, ends, every = case
    nodes, edges = counted(every)
    got = marginals(*arguments, **ends)
    np.testing.assert_allclose(got.nodes, nodes, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got.edges, edges, rtol=1e-4, atol=1e-6)
    tags = np.zeros((B, T), np.int32)
    for implementation in ("scan", "associative"):
        options = dict(**ends, implementation=implementation)
        (grads, _), _ = pulled(*arguments, tags, **options)
        wants = nodes, edges.sum(axis=(0, 1))
        for grad, want in zip(grads[:2], wants, strict=True):
            np.testing.assert_allclose(grad, want, rtol=1e-4, atol=1e-6)


def test_the_best_sequences_are_those_of_the_enumeration(case):
    arguments, ends, every = case
    best = n_best(*arguments, **ends, count=4)
    one = viterbi(*arguments, **ends)
    for b, found in enumerate(every):
        order = sorted(
            (t for t in found if found[t] > -np.inf), key=lambda t: -found[t]
        )
        for k in range(4):
            if k < len(order):
                assert best.tags[b, k, KEPT[b]].tolist() == [*order[k]]
                np.testing.assert_allclose(
                    best.scores[b, k], found[order[k]], rtol=1e-5, atol=1e-5
                )
            else:
                assert best.scores[b, k] == -np.inf
            assert not best.tags[b, k, ~KEPT[b]].any()
        assert one.tags[b].tolist() == best.tags[b, 0].tolist()
        assert one.scores[b] == best.scores[b, 0]


@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_forbidden_moves_leave_finite_gradients(implementation):
    (emissions, transitions, kept), ends, _ = rows(forbidden=True)
    tags = np.zeros((B, T), np.int32)
    tags[:2, 1] = 1  # two rows are forbidden
    options = dict(**ends, implementation=implementation)
    for grads, found in pulled(emissions, transitions, kept, tags, **options):
        assert all(np.isfinite(g).all() for g in grads)
        assert not grads[0][~KEPT].any()
        assert not np.isnan(found).any()
    assert (found[:2] == -np.inf).all()
    assert not grads[0][:2].any()


@pytest.mark.parametrize("implementation", ["scan", "associative"])
def test_where_all_is_forbidden_there_is_minus_infinity_and_never_nan(implementation):
    (emissions, _, kept), ends, _ = rows()
    nothing, tags = np.full((C, C), -np.inf, np.float32), np.zeros((B, T), np.int32)
    options = dict(**ends, implementation=implementation)
    for grads, found in pulled(emissions, nothing, kept, tags, **options):
        assert (found[:3] == -np.inf).all()
        assert np.isfinite(found[3:]).all()  # a row of one place makes no move
        assert not grads[0][:3].any()  # nan would be true
        assert not grads[1].any()
    assert not marginals(emissions, nothing, kept, **ends).nodes[:3].any()
    best = viterbi(emissions, nothing, kept, **ends)
    assert (best.scores[:3] == -np.inf).all()
    assert not best.tags[:3].any()


def test_large_scores_neither_overflow_nor_hide_the_second_best():
    # The best tag may not move on: what is 300 below it must not be lost. From there
    # on 21 ways are left.
    (emissions, _, kept), ends, _ = rows()
    emissions = np.zeros_like(emissions)
    emissions[0, :2] = [[0.0, -300.0, -1e4], [0.0, 1e4, 0.0]]
    moves, ends = np.zeros((C, C), np.float32), dict.fromkeys(ends, np.zeros(C))
    moves[0, 1] = -np.inf
    for implementation in ("scan", "associative"):
        options = dict(**ends, implementation=implementation)
        got = log_partition(emissions, moves, kept, **options)[0]
        np.testing.assert_allclose(got, 1e4 - 300.0 + np.log(21), rtol=1e-6)
    assert viterbi(emissions, moves, kept, **ends).tags[0, :2].tolist() == [1, 1]


def test_ends_force_tags():
    (emissions, transitions, kept), _, _ = rows()
    ends = np.where(np.arange(C) == 2, 0.0, -np.inf)
    tags = viterbi(emissions, transitions, kept, first=ends, last=ends).tags
    for row, keep in zip(tags, KEPT, strict=True):
        assert not keep.any() or row[keep][0] == row[keep][-1] == 2


def test_hidden_places_may_be_cut_out():
    arguments, ends, _ = rows(seed=3)
    emissions, transitions, kept = arguments
    batch = log_partition(*arguments, **ends)
    front = np.argsort(~KEPT, axis=1, kind="stable")
    moved = np.take_along_axis(emissions, front[..., None], 1)
    kept = np.sort(KEPT, axis=1)[:, ::-1]
    got = log_partition(moved, transitions, kept, **ends)
    np.testing.assert_allclose(got, batch, rtol=1e-6)


def test_what_hidden_places_hold_does_not_matter():
    (emissions, transitions, kept), ends, _ = rows()
    other = np.where(kept[..., None], emissions, np.float32(np.inf))
    tags = np.ones((B, T), np.int32)
    for f in (log_partition, partial(n_best, count=4), marginals):
        for a, b in zip(
            jax.tree.leaves(f(emissions, transitions, kept, **ends)),
            jax.tree.leaves(f(other, transitions, kept, **ends)),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)
    wrong = np.where(kept, tags, 99)
    np.testing.assert_array_equal(
        sequence_scores(emissions, transitions, tags, kept, **ends),
        sequence_scores(other, transitions, wrong, kept, **ends),
    )


def test_bfloat16_is_computed_in_float32():
    (emissions, transitions, kept), ends, _ = rows()
    low = emissions.astype(jnp.bfloat16), transitions.astype(jnp.bfloat16)
    got = log_partition(*low, kept, **ends)
    want = log_partition(*(x.astype(np.float32) for x in low), kept, **ends)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def test_wrong_arguments_are_refused():
    (emissions, transitions, kept), ends, _ = rows()
    tags = np.zeros((B, T), np.int32)
    for wrong in (
        (emissions[0], transitions, kept),
        (emissions, transitions[:2], kept),
        (emissions, transitions, kept[:, :2]),
        (emissions, transitions, tags),
        (emissions[:, :0], transitions, kept[:, :0]),
    ):
        with pytest.raises(ValueError, match="emissions, transitions, kept, first"):
            log_partition(*wrong)
    with pytest.raises(ValueError, match="emissions, transitions, kept, first"):
        viterbi(emissions, transitions, kept, first=ends["first"][:2])
    with pytest.raises(ValueError, match="implementation must be"):
        log_partition(emissions, transitions, kept, implementation="tree")
    with pytest.raises(ValueError, match=r"tags must be integers \(5, 5\)"):
        sequence_scores(emissions, transitions, tags[:2], kept)
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        n_best(emissions, transitions, kept, count=0)
