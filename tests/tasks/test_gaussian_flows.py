from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.metrics.gaussian_transport import wasserstein2_squared
from kexue_jax.tasks.gaussian_flows import GaussianFlows, Pair, gradient_flow


def pair():
    return Pair(
        np.zeros(2),
        np.array([[1.0, 0.3], [0.3, 0.5]]),
        np.array([3.0, 1.0]),
        np.array([[0.4, -0.2], [-0.2, 1.5]]),
    )


def test_the_flow_of_w2_runs_down_its_geodesic_at_the_rate_of_its_gradient():
    with jax.enable_x64(True):
        flow = partial(gradient_flow, wasserstein2_squared, attempts=150)
        time, place, value = jax.device_get(jax.jit(flow)(pair()))
        left = np.exp(-4.0 * np.asarray(time))  # W2 falls by exp(-2 t)
        whole = float(jax.jit(wasserstein2_squared)(*pair()))
    np.testing.assert_allclose(np.sqrt(value), np.sqrt(whole * left), atol=1e-4)
    assert value[-1] < 1e-6
    mean = (1.0 - np.sqrt(left))[:, None] * np.array([[3.0, 1.0]])
    np.testing.assert_allclose(place[:, :2], mean, atol=1e-4)
    stays = time[1:] == time[:-1]
    assert stays[-1]
    assert (np.diff(value) <= 0.0).all()


@pytest.mark.slow
def test_scores_say_which_way_is_longest_and_which_swells():
    task = GaussianFlows(starts=2, attempts=300)
    rng = task.init(jax.random.key(0))[1]["rng"]
    scores, shown = task.measure(rng)
    assert max(scores[k] for k in scores if k.endswith("left")) < 1e-4
    assert max(scores[k] for k in scores if k.endswith("gradient_error")) < 1e-6
    assert scores["kl/diffusion_error"] < 1e-4
    ways = ("swapped_kl", "bhattacharyya", "kl", "wasserstein")
    lengths = [scores[f"{way}/length_least"] for way in ways]
    assert lengths == sorted(lengths, reverse=True)
    assert scores["wasserstein/swelling_most"] < 1.001
    assert all(s.x.shape == s.y.shape for e in shown[:5] for s in e.series)


def test_pairs_are_of_the_stated_condition_and_distance():
    task = GaussianFlows(starts=50, apart=2.5, condition=4.0)
    pairs = task.pairs(jax.random.key(1))
    away = np.linalg.norm(pairs.mean_q - pairs.mean_p, axis=1)
    np.testing.assert_allclose(away, 2.5)
    values = np.linalg.eigvalsh(np.concatenate([pairs.cov_p, pairs.cov_q]))
    assert 0.5 <= values.min() < 0.6
    assert 1.8 < values.max() <= 2.0


def test_what_measures_nothing_is_refused():
    with pytest.raises(ValueError, match="starts and attempts must be positive"):
        GaussianFlows(starts=0)
    with pytest.raises(ValueError, match=r"condition at least 1, got 4\.0 and 0\.5"):
        GaussianFlows(condition=0.5)
