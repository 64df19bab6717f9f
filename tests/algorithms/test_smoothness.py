import jax
import numpy as np
import pytest

from kexue_jax.algorithms.smoothness import local_smoothness


def test_the_largest_slope_on_the_way_is_the_formula():
    def gradient(x):
        return {"a": 4 * x["a"] ** 3, "b": 2 * x["b"]}

    x0, x1 = (
        {"a": np.float32(1), "b": np.float32(2)},
        {"a": np.float32(3), "b": np.float32(1)},
    )
    deltas = (0.25, 0.5, 1.0)
    got = jax.jit(lambda x, y: local_smoothness(gradient, x, y, deltas))(x0, x1)
    start, way, want = np.array([4.0, 4.0]), np.array([2.0, -1.0]), []
    for delta in deltas:
        a, b = np.array([1.0, 2.0]) + delta * way
        change = np.linalg.norm(np.array([4 * a**3, 2 * b]) - start)
        want.append(change / (delta * np.linalg.norm(way)))
    np.testing.assert_allclose(got, max(want), rtol=1e-6)


def test_no_way_is_no_slope_and_wrong_parts_are_refused():
    x = np.ones(3, np.float32)
    assert jax.jit(lambda x: local_smoothness(lambda y: y, x, x))(x) == 0
    for deltas in ((), (0.0,), (1.5,)):
        with pytest.raises(ValueError, match="deltas must be some numbers"):
            local_smoothness(lambda y: y, x, x, deltas)
