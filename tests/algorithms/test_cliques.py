import itertools

import numpy as np
import pytest

from kexue_jax.algorithms.cliques import maximal_cliques


def by_enumeration(count, edges):
    """All sets of linked nodes that no other holds."""
    linked = {frozenset(edge) for edge in edges}
    sets = [
        set(own)
        for size in range(1, count + 1)
        for own in itertools.combinations(range(count), size)
        if all(frozenset(pair) in linked for pair in itertools.combinations(own, 2))
    ]
    return sorted(sorted(own) for own in sets if not any(own < other for other in sets))


def random_graph(draws, count):
    pairs = np.array(list(itertools.combinations(range(count), 2))).reshape(-1, 2)
    return pairs[draws.random(len(pairs)) < draws.random()].tolist()


def test_cliques_are_the_sets_that_enumeration_finds():
    draws = np.random.default_rng(0)
    for _ in range(60):
        count = int(draws.integers(1, 8))
        edges = random_graph(draws, count)
        assert maximal_cliques(range(count), edges) == by_enumeration(count, edges)


def test_the_graph_of_the_post_has_two_cliques_that_share_a_node():
    parts = ["ABCD", "DEFGH"]
    edges = [pair for own in parts for pair in itertools.combinations(own, 2)]
    assert maximal_cliques("ABCDEFGH", edges) == [list(own) for own in parts]


def test_nodes_alone_loops_and_doubles_change_nothing():
    assert maximal_cliques([], []) == []
    found = maximal_cliques("abcb", [("a", "b"), ("b", "a"), ("c", "c")])
    assert found == [["a", "b"], ["c"]]


def test_the_search_stops_where_there_are_too_many_cliques():
    # Three nodes that are not linked, twenty times: 3^20 cliques.
    edges = [
        (i, j) for i, j in itertools.combinations(range(60), 2) if i // 3 != j // 3
    ]
    found = maximal_cliques(range(60), edges, most=50)
    assert len(found) == 50
    assert all(len(own) == 20 for own in found)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="edges must join nodes"):
        maximal_cliques("ab", ["ac"])
    with pytest.raises(ValueError, match="most must be at least 1"):
        maximal_cliques("ab", [], most=0)
