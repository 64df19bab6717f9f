import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.losses.score_function import (
    expected_reward_loss,
    optimal_baseline,
    score_function_loss,
    softmax_score_norms,
)

LOGITS = np.array([0.3, -1.0, 0.8, 0.1], np.float32)
REWARD = np.array([4.0, -10.0, 6.0, 15.0], np.float32)


def probabilities():
    p = np.exp(LOGITS.astype(np.float64))
    return p / p.sum()


def exact():
    """The gradient of the expected reward by the logits, in float64."""
    p = probabilities()
    return p * (REWARD - p @ REWARD)


def surrogate(logits, drawn, baseline):
    log_p = jax.nn.log_softmax(logits)[drawn]
    return score_function_loss(log_p, jnp.asarray(REWARD)[drawn], baseline=baseline)


def mean_over_all_draws(samples, baseline):
    """The expected gradient, by enumeration of every tuple of samples."""
    every = np.array(list(itertools.product(range(4), repeat=samples)))
    slopes = jax.jit(
        jax.vmap(jax.grad(surrogate), in_axes=(None, 0, None)), static_argnums=2
    )(LOGITS, every, baseline)
    odds = probabilities()[every].prod(axis=1)
    return odds @ np.asarray(slopes, np.float64), slopes, odds


@pytest.mark.parametrize(
    ("baseline", "samples", "share"),
    [("none", 1, 1.0), ("mean", 3, 2 / 3), ("leave_one_out", 2, 1.0)],
)
def test_its_mean_over_all_draws_is_minus_the_gradient_of_the_reward(
    baseline, samples, share
):
    mean, _, _ = mean_over_all_draws(samples, baseline)
    np.testing.assert_allclose(mean, -share * exact(), rtol=1e-5, atol=1e-5)


def test_any_number_as_a_baseline_leaves_the_mean_and_the_optimal_one_varies_least():
    best = optimal_baseline(
        jnp.asarray(REWARD), softmax_score_norms(LOGITS), probabilities()
    )

    def mean_and_square(baseline):
        slopes = jax.vmap(
            jax.grad(
                lambda z, y: score_function_loss(
                    jax.nn.log_softmax(z)[y][None],
                    jnp.asarray(REWARD)[y][None],
                    baseline=baseline[None],
                )
            ),
            in_axes=(None, 0),
        )(LOGITS, np.arange(4))
        p = jnp.asarray(probabilities(), jnp.float32)
        return p @ slopes, p @ jnp.sum(slopes**2, axis=1)

    grid = np.linspace(-20.0, 20.0, 81, dtype=np.float32)
    tried = np.concatenate([best, grid, [np.float32(probabilities() @ REWARD)]])
    means, squares = jax.jit(jax.vmap(mean_and_square))(tried)
    np.testing.assert_allclose(
        means, np.broadcast_to(-exact(), means.shape), atol=2e-5, rtol=1e-5
    )
    assert squares[0] <= squares.min() * (1 + 1e-5)
    assert squares[0] < 0.99 * squares[1:].max()


def test_the_norms_of_a_softmax_are_those_of_its_gradients():
    slopes = np.eye(4) - probabilities()
    np.testing.assert_allclose(
        softmax_score_norms(LOGITS), (slopes**2).sum(axis=1), rtol=1e-5
    )


def test_known_rewards_need_no_draws():
    logits = np.stack([LOGITS, np.zeros(4, np.float32)])
    reward = np.stack([REWARD, REWARD])
    value, slope = jax.jit(jax.value_and_grad(expected_reward_loss))(logits, reward)
    expected = [probabilities() @ REWARD, REWARD.mean()]
    np.testing.assert_allclose(value, -np.mean(expected), rtol=1e-5)
    np.testing.assert_allclose(slope[0], -0.5 * exact(), rtol=1e-5, atol=1e-6)


def test_a_bandit_ascends_to_the_best_arm():
    def step(logits, _):
        slope = jax.grad(expected_reward_loss)(logits, jnp.array([1.0, 0.0]))
        return logits - 5.0 * slope, None

    last, _ = jax.jit(lambda z: jax.lax.scan(step, z, None, 500))(jnp.zeros(2))
    odds = jax.nn.softmax(last)
    assert odds[0] > 0.99
    slope = jax.grad(expected_reward_loss)(jnp.zeros(2), jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(slope, [-0.25, 0.25])  # p (1 - p)


def test_no_gradient_goes_through_the_reward_or_the_baseline():
    def loss(scale):
        reward = scale * jnp.asarray(REWARD)
        log_p = jax.nn.log_softmax(jnp.asarray(LOGITS))
        return score_function_loss(log_p, reward, baseline=scale[None])

    assert jax.grad(loss)(jnp.ones(())) == 0.0


def test_edges_are_finite_and_float32():
    one = jnp.ones((3, 1), jnp.bfloat16)
    assert score_function_loss(one, one, baseline="mean").dtype == jnp.float32
    nothing = jnp.zeros((0, 2))
    assert score_function_loss(nothing, nothing) == 0.0
    assert expected_reward_loss(nothing, nothing) == 0.0
    np.testing.assert_array_equal(
        optimal_baseline(jnp.ones((2, 3)), jnp.zeros((2, 3))), np.zeros((2, 1))
    )


def test_what_does_not_fit_is_refused():
    two = jnp.zeros((2, 2))
    with pytest.raises(ValueError, match="baseline must be"):
        score_function_loss(two, two, baseline="best")
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        score_function_loss(two[:, :1], two[:, :1])
    with pytest.raises(ValueError, match=r"\(2, 2\) and \(2,\)"):
        score_function_loss(two, two[0])
    with pytest.raises(ValueError, match="logits and reward"):
        expected_reward_loss(two, two[0])
    with pytest.raises(ValueError, match="squared_norm"):
        optimal_baseline(two, two[0])
