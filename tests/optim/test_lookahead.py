import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import lookahead


def draw(steps=50):
    draws = np.random.default_rng(0)
    return draws.normal(size=(steps, 3)), draws.normal(size=3)


def test_slow_and_fast_weights_are_the_formula_over_fifty_steps(trajectory):
    grads, start = draw()
    fast, slow, m, want = start.copy(), start.copy(), np.zeros(3), []
    for t, g in enumerate(grads, 1):
        m = 0.9 * m + g
        fast = fast - 0.1 * m
        if t % 4 == 0:
            slow = slow + 0.3 * (fast - slow)
            fast = slow
        want.append(fast)
    with jax.enable_x64(True):
        tx = lookahead(optax.sgd(0.1, momentum=0.9), 4, 0.3)
        got, state = trajectory(tx, grads, start)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    np.testing.assert_allclose(state.average, slow, rtol=1e-10)


def test_it_is_optax_lookahead_on_plain_params(trajectory):
    grads, start = (x.astype(np.float32) for x in draw(12))
    got, state = trajectory(lookahead(optax.adam(0.1), 5, 0.5), grads, start)
    theirs = optax.lookahead(optax.adam(0.1), 5, 0.5)

    @jax.jit
    def run(params, grads):
        def step(carry, g):
            params, state = carry
            updates, state = theirs.update(g, state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), params.fast

        return jax.lax.scan(step, (params, theirs.init(params)), grads)

    (params, _), want = run(optax.LookaheadParams.init_synced(start), grads)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.average, params.slow, rtol=1e-5, atol=1e-6)


def test_a_step_size_of_one_is_the_fast_optimizer_and_of_zero_goes_nowhere(trajectory):
    grads, start = draw(12)
    with jax.enable_x64(True):
        want, _ = trajectory(optax.sgd(0.1), grads, start)
        one, _ = trajectory(lookahead(optax.sgd(0.1), 3, 1.0), grads, start)
        none, state = trajectory(lookahead(optax.sgd(0.1), 3, 0.0), grads, start)
    np.testing.assert_allclose(one, want, rtol=1e-12)
    np.testing.assert_allclose(none[2::3], np.tile(start, (4, 1)), rtol=1e-12)
    np.testing.assert_array_equal(state.average, start)


def test_arguments_out_of_range_are_refused():
    with pytest.raises(ValueError, match="sync_period must be at least 1, got 0"):
        lookahead(optax.sgd(0.1), 0)
    with pytest.raises(ValueError, match=r"slow_step_size must be in \[0, 1\], got 2"):
        lookahead(optax.sgd(0.1), slow_step_size=2.0)
