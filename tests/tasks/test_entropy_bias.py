import jax
import numpy as np
import pytest

from kexue_jax.metrics.knn_entropy import knn_entropy
from kexue_jax.tasks.entropy_bias import NORMAL, SHAPES, EntropyBias


def make(**options):
    settings = dict(dimensions=(24,), counts=(32,), neighbours=(1, 3), draws=4)
    return EntropyBias(**settings | options)


def test_the_bias_is_the_mean_estimate_less_the_entropy_of_a_normal():
    task = make()
    x = np.random.default_rng(0).normal(size=(32, 24)).astype(np.float32)
    estimates = np.asarray(task._estimates(x))
    np.testing.assert_allclose(estimates[0], jax.jit(knn_entropy)(x), rtol=1e-5)
    scores = task.evaluate(*task.init(jax.random.key(0)))
    assert scores["n32_k3/bias_24"] > scores["n32_k1/bias_24"] > 0.0
    assert scores["n32_k3/above_24"] == 1.0
    assert abs(scores["n32_k1/bias_24"] + 24 * NORMAL - estimates[0]) < 5.0
    assert len(task.exhibits(*task.init(jax.random.key(0)))) == 4


def test_correlated_pairs_have_the_stated_correlation_and_variances():
    draw = jax.jit(SHAPES["correlated"], static_argnums=1)
    x = np.asarray(draw(jax.random.key(0), (4000, 2)))
    np.testing.assert_allclose(np.cov(x.T), [[1, 0.9], [0.9, 1]], atol=0.1)


def test_what_measures_nothing_is_refused():
    with pytest.raises(ValueError, match="counts must be above every k"):
        make(counts=(3,))
    with pytest.raises(ValueError, match="draws must be positive"):
        make(draws=0)
