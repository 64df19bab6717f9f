import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import piecewise_linear, relative_step


def values(schedule, steps):
    return np.asarray(jax.jit(schedule)(np.array(steps, np.int32)))


def test_the_rate_runs_straight_between_points_from_zero_and_stays():
    points = {2000: 0.1, 1000: 1.0}
    got = values(piecewise_linear(points), [0, 1, 500, 1000, 1500, 2000, 10**6])
    np.testing.assert_allclose(got, [0, 0.001, 0.5, 1, 0.55, 0.1, 0.1], rtol=1e-6)
    got = values(piecewise_linear([(0, 2.0), (10, 0.0)], scale=0.5), [0, 5, 10, 20])
    np.testing.assert_allclose(got, [1.0, 0.5, 0.0, 0.0])


def test_points_that_make_no_line_are_refused():
    for points, message in (
        ({}, "points must not be empty"),
        ({-1: 1.0}, "at least 0, got -1"),
        ([(5, 1.0), (5, 2.0)], "comes twice"),
    ):
        with pytest.raises(ValueError, match=message):
            piecewise_linear(points)
    with pytest.raises(ValueError, match="maximum must be positive"):
        relative_step(0.0)


def test_the_relative_step_is_capped_and_then_falls_as_the_root():
    got = values(relative_step(), [0, 9998, 9999, 39_999])
    np.testing.assert_allclose(got, [0.01, 0.01, 0.01, 0.005], rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 3), (5,)])
def test_optax_adafactor_at_the_relative_step_is_the_post(trajectory, shape):
    """Decay 1 - t^-0.8, a factored square, clipping at 1, steps times the RMS."""
    draws = np.random.default_rng(0)
    grads, theta = draws.normal(size=(50, *shape)), draws.normal(size=shape)
    start, want, square = theta.copy(), [], 0.0
    rows = columns = 0.0
    for t, g in enumerate(grads, 1):
        decay = 1 - t**-0.8
        g2 = g**2 + 1e-30
        if len(shape) == 2:
            rows = decay * rows + (1 - decay) * g2.sum(axis=1)
            columns = decay * columns + (1 - decay) * g2.sum(axis=0)
            square = np.outer(rows / rows.sum(), columns)
        else:
            square = decay * square + (1 - decay) * g2
        u = g / np.sqrt(square)
        u = u / max(1.0, np.sqrt(np.mean(u**2)))
        rate = min(1e-2, 1 / np.sqrt(t))
        theta = theta - rate * max(1e-3, np.sqrt(np.mean(theta**2))) * u
        want.append(theta)
    with jax.enable_x64(True):  # optax computes the decay in float32 all the same
        tx = optax.adafactor(relative_step(), min_dim_size_to_factor=1)
        got, _ = trajectory(tx, jnp.asarray(grads), jnp.asarray(start))
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)
