import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import accumulate_in_momentum


def draw(steps=50):
    draws = np.random.default_rng(0)
    return draws.normal(size=(steps, 3)), draws.normal(size=3)


@pytest.mark.parametrize("every", [1, 5])
def test_it_is_momentum_over_the_means_of_many_gradients(trajectory, every):
    grads, start = draw()
    theta, m, want = start.copy(), np.zeros(3), []
    for mean in grads.reshape(-1, every, 3).mean(axis=1):
        m = 0.9 * m + 0.1 * mean
        want += [theta] * (every - 1)
        theta = theta - 0.2 * m
        want.append(theta)
    with jax.enable_x64(True):
        ours = optax.chain(accumulate_in_momentum(every, 0.9), optax.scale(-0.2))
        got, _ = trajectory(ours, grads, start)
        true = optax.MultiSteps(
            optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.2)),
            every,
            accumulator_dtype=np.float64,
        )
        same, _ = trajectory(true, grads, start)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)
    np.testing.assert_allclose(got, same, rtol=0, atol=1e-14)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        accumulate_in_momentum(0)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1.0"):
        accumulate_in_momentum(2, 1.0)
