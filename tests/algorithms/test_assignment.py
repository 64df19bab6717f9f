import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from kexue_jax.algorithms.assignment import _assign


def costs(kind, size, draws):
    if kind == "ties":
        return draws.integers(0, 3, (size, size)).astype(float)
    if kind == "zeros":
        return np.zeros((size, size))
    if kind == "points":
        x, y = draws.normal(size=(2, size, 3))
        return np.linalg.norm(x[:, None] - y[None], axis=-1)
    return draws.normal(size=(size, size))


@pytest.mark.parametrize("kind", ["normal", "ties", "zeros", "points"])
def test_costs_the_least_and_proves_it(kind):
    draws = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 8, 13, 30):
        for _ in range(5):
            cost = costs(kind, size, draws)
            column_of = np.empty(size, np.int64)
            f, g = np.empty(size), np.empty(size)
            _assign(cost, column_of, f, g)
            assert sorted(column_of) == list(range(size))
            value = cost[np.arange(size), column_of].sum()
            want = cost[linear_sum_assignment(cost)].sum()
            np.testing.assert_allclose(value, want, rtol=1e-12, atol=1e-12)
            assert (f[:, None] + g[None] - cost).max() < 1e-13
            np.testing.assert_allclose(f.sum() + g.sum(), value, atol=1e-12)
