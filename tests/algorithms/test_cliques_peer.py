import numpy as np
import pytest

from kexue_jax.algorithms.cliques import maximal_cliques

pytestmark = pytest.mark.peer


def test_cliques_are_those_of_networkx():
    networkx = pytest.importorskip("networkx")
    draws = np.random.default_rng(0)
    for _ in range(300):
        count = int(draws.integers(1, 25))
        graph = networkx.gnp_random_graph(
            count, draws.random(), seed=int(draws.integers(1 << 30))
        )
        found = maximal_cliques(graph.nodes, graph.edges, most=100_000)
        assert found == sorted(sorted(own) for own in networkx.find_cliques(graph))
