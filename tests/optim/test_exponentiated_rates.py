import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import scale_by_exponentiated_rates


def test_rates_are_the_formula_over_fifty_steps_and_keep_their_bounds(trajectory):
    draws = np.random.default_rng(0)
    grads, start = draws.normal(size=(50, 4)), draws.normal(size=4)
    grads[:, 3] = 10.0  # always the same sign: the rate ends at its bound
    theta, rate, last, want = start.copy(), np.ones(4), np.zeros(4), []
    for g in grads:
        rate = np.clip(rate * np.exp(0.1 * last * g), 1 / 50, 50.0)
        theta, last = theta - 0.01 * rate * g, g
        want.append(theta)
    with jax.enable_x64(True):
        tx = optax.chain(scale_by_exponentiated_rates(0.1, 50.0), optax.scale(-0.01))
        got, state = trajectory(tx, grads, start)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    np.testing.assert_allclose(np.exp(state[0].log_rate[3]), 50.0)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="gamma must be at least 0, got -1"):
        scale_by_exponentiated_rates(-1.0)
    with pytest.raises(ValueError, match="limit must be at least 1, got 0"):
        scale_by_exponentiated_rates(limit=0.5)
