import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import scale_by_adax
from kexue_jax.optim.adax import adax_rate
from kexue_jax.tasks.adam_counterexample import AdamCounterexample, newest_weights


def test_weights_of_the_newest_square_are_those_of_the_schedules():
    steps = 1000
    t = np.arange(1, steps + 1)
    adam = (1 - 0.999) / (1 - 0.999**t)
    ways = [
        (optax.scale_by_adam(b1=0.0, b2=0.999, eps=0.0), adam, 1e-9),
        (scale_by_adax(b1=0.0, eps=0.0), np.asarray(adax_rate(t)), 1e-5),
        (optax.scale_by_factored_rms(decay_rate=0.8), t**-0.8, 1e-4),
    ]
    with jax.enable_x64(True):
        found = jax.jit(lambda: [newest_weights(tx, steps) for tx, *_ in ways])()
    for got, (_, want, tolerance) in zip(found, ways, strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance)
    decays = [[1 - float(w[t - 1]) for t in (2, 10, 1000)] for w in found]
    table = [[0.49975, 0.89955, 0.99842], [0.50002, 0.90004, 0.99905]]
    np.testing.assert_allclose(decays[:2], table, atol=6e-6)


def small(**options):
    methods = {"plain": optax.identity(), "adax": scale_by_adax(b1=0.0, eps=0.0)}
    return AdamCounterexample(
        methods=methods, averages=("adax",), steps=60, starts=5, **options
    )


def test_plain_descent_is_the_formula_and_ends_at_the_best_point(keys):
    task, key = small(), next(keys)
    scores = task.evaluate(*task.init(key))
    with jax.enable_x64(True):
        x = np.asarray(jax.random.uniform(key, (5,), np.float64, -1, 1))
    regrets = []
    for t in range(1, 61):
        g = 3.0 if t % 3 == 1 else -1.0
        regrets.append(np.mean(g * (x + 1)))
        x = np.clip(x - 0.1 / np.sqrt(t) * g, -1, 1)
    np.testing.assert_allclose(scores["plain/least"], x.min(), rtol=1e-12)
    np.testing.assert_allclose(scores["plain/most"], x.max(), rtol=1e-12)
    np.testing.assert_allclose(scores["plain/regret"], np.mean(regrets), rtol=1e-12)
    assert scores == task.evaluate(*task.init(key))
    assert "plain/newest" not in scores
    assert len(task.exhibits(*task.init(key))) == 4


def test_settings_that_measure_nothing_are_refused():
    with pytest.raises(ValueError, match="averages must be names of methods"):
        AdamCounterexample(methods={"adam": optax.scale_by_adam()}, averages=("sgd",))
    with pytest.raises(ValueError, match="largest must exceed 2"):
        small(largest=2.0)
