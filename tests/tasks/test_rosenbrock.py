from functools import partial

import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import lookahead
from kexue_jax.tasks.rosenbrock import Rosenbrock


def test_the_best_rate_is_that_of_plain_descent_by_hand(keys):
    rates = (1e-4, 1e-3, 1.0)  # the last diverges
    task = Rosenbrock(
        methods={"descent": optax.sgd},
        rates={"descent": rates},
        wrappers={"slow": partial(lookahead, sync_period=2)},
        wrapped="descent",
        steps=20,
        starts=10,
    )
    key = next(keys)
    scores = task.evaluate(*task.init(key))
    low, high = np.array([[-2.0, -1.0]]), np.array([[2.0, 3.0]])
    with jax.enable_x64(True):
        starts = jax.random.uniform(key, (10, 2), np.float64, low, high)
    ends = []
    for rate in rates:
        x, y = np.array(starts).T
        with np.errstate(over="ignore", invalid="ignore"):
            for t in range(20):
                step = rate * 0.5 * (1 + np.cos(np.pi * t / 20))
                slope_x = -400 * x * (y - x * x) - 2 * (1 - x)
                x, y = x - step * slope_x, y - step * 200 * (y - x * x)
            loss = 100 * (y - x * x) ** 2 + (1 - x) ** 2
        loss = np.where(np.isfinite(loss), loss, np.inf)
        ends.append(np.quantile(loss, 0.9, method="higher"))
    assert scores["descent/rate"] == rates[int(np.argmin(ends))]
    np.testing.assert_allclose(scores["descent/loss"], np.log10(min(ends)), rtol=1e-5)
    assert scores["slow/rate"] in rates
    assert scores["slow/loss"] != scores["descent/loss"]
    curves, table = task.exhibits(*task.init(key))
    assert len(curves.series) == len(table.rows) == 2


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must have the same names"):
        Rosenbrock(methods={"adam": optax.adam}, rates={})
    with pytest.raises(ValueError, match="steps, starts must be at least 1"):
        Rosenbrock(methods={"adam": optax.adam}, rates={"adam": (0.1,)}, steps=0)
    with pytest.raises(ValueError, match="wrapped must be of methods, got 'lion'"):
        Rosenbrock(
            methods={"adam": optax.adam},
            rates={"adam": (0.1,)},
            wrappers={"slow": lookahead},
            wrapped="lion",
        )
