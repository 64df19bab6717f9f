import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kexue_jax.metrics.knn_entropy import knn_entropy
from kexue_jax.tasks.maximum_entropy import (
    MaximumEntropy,
    as_they_are,
    distance_to_normal,
    standardised,
)


def test_standardised_points_have_mean_0_and_variance_1_and_constants_become_0():
    x = np.random.default_rng(0).normal(size=(50, 3)) * np.array([1.0, 9.0, 0.0])

    @jax.jit
    def pulled(x):
        out, pull = jax.vjp(standardised, x)
        return out, pull(jnp.ones_like(out))[0]

    out, slope = jax.device_get(pulled(x + 2.0))
    np.testing.assert_allclose(out.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(np.square(out).mean(axis=0), [1, 1, 0], rtol=1e-5)
    assert np.isfinite(slope).all()


def test_the_distance_to_a_normal_is_scipys_statistic():
    x = np.random.default_rng(0).uniform(-1.7, 1.7, 200).astype(np.float32)
    want = scipy.stats.kstest(x.astype(np.float64), "norm").statistic
    assert abs(distance_to_normal(x) - want) < 1e-5


def test_normalised_gradients_cannot_stretch_points_and_free_ones_do():
    @jax.jit
    def stretched(x):
        """How fast the loss falls as the points grow, free and normalised."""
        loss = [
            MaximumEntropy(constraint=c, count=20).loss
            for c in (as_they_are, standardised)
        ]
        own = [
            jax.grad(lambda x, f=f: f({"points": x}, {}, {}, None)[0])(x) for f in loss
        ]
        return [-jnp.sum(g * x) for g in own]

    x = np.random.default_rng(0).random((20, 2), np.float32)
    free, normed = jax.device_get(stretched(x))
    np.testing.assert_allclose(free, 2.0, rtol=1e-4)  # the dimension
    assert abs(normed) < 1e-4


def test_scores_are_of_points_as_the_constraint_leaves_them():
    task = MaximumEntropy(count=64)
    params, extras = task.init(jax.random.key(0))
    points = np.asarray(params["points"])
    scores = task.evaluate({"points": 5.0 * points}, extras)
    np.testing.assert_allclose(scores["now/entropy"], scores["start/entropy"], 1e-4)
    want = jax.jit(lambda x: knn_entropy(standardised(x)))(points)
    np.testing.assert_allclose(scores["now/entropy"], want, rtol=1e-4)
    np.testing.assert_allclose(scores["now/spread"], 1.0, rtol=1e-5)
    assert scores["start/fourth"] < 2.2
    assert len(task.exhibits(params, extras)) == 2


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match=r"count must be at least 3 .*got 2 and 2"):
        MaximumEntropy(count=2)
