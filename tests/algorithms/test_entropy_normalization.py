import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.special
import scipy.stats

from kexue_jax.algorithms.entropy_normalization import (
    entropy_normalized,
    softmax_entropy,
)

compiled = jax.jit(entropy_normalized, static_argnames=("steps", "tolerance"))
SIZE = 100


def normalize(*arrays, **options):
    """What is found, in arrays of NumPy."""
    return jax.device_get(compiled(*arrays, **options))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def entropy(weights):
    return scipy.stats.entropy(np.asarray(weights, np.float64), axis=-1)


def slow(logits, target):
    """The power by bisection in float64."""
    logits = np.asarray(logits, np.float64)

    def excess(power):
        return entropy(scipy.special.softmax(np.exp(power) * logits)) - target

    return np.exp(scipy.optimize.brentq(excess, -20.0, 20.0, xtol=1e-14))


def restarted(logits, target, steps=30):
    """The iteration of the post, which starts anew from its own result."""
    weights = scipy.special.softmax(np.asarray(logits, np.float64))
    for _ in range(steps):
        with np.errstate(all="ignore"):
            logs = np.log(weights)
            now = -np.sum(weights * logs)
            spread = now**2 - np.sum(weights * logs**2)
            powers = weights ** (1.0 + (target - now) / spread)
            weights = powers / powers.sum()
    return weights


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 10.0])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_every_target_is_reached_from_every_start(scale, share):
    logits = scale * normal(200, SIZE)
    target = share * np.log(SIZE)
    got = normalize(logits, target)
    assert got.converged.all()
    np.testing.assert_allclose(entropy(got.weights), target, rtol=0, atol=2e-6)
    order = np.argsort(logits, axis=-1)
    assert (np.diff(np.take_along_axis(got.weights, order, -1)) >= 0).all()


def test_the_power_is_that_of_bisection_in_float64():
    logits = 3.0 * normal(5, 20)
    got = normalize(logits, 1.5)
    want = [slow(row, 1.5) for row in logits]
    np.testing.assert_allclose(got.power, want, rtol=1e-5)
    logs = scipy.special.log_softmax(logits, axis=-1)
    want = scipy.special.softmax(got.power[:, None] * logs, axis=-1)
    np.testing.assert_allclose(got.weights, want, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("scale", "share", "right_at_most"), [(4.0, 0.9, 100), (10.0, 0.95, 10)]
)
def test_the_iteration_of_the_post_fails_where_ours_keeps_the_order(
    scale, share, right_at_most
):
    logits = scale * normal(200, SIZE)
    target = share * np.log(SIZE)
    theirs = np.array([restarted(row, target) for row in logits])
    rank = [
        scipy.stats.spearmanr(a, b).statistic if np.isfinite(a).all() else 0.0
        for a, b in zip(theirs, logits, strict=True)
    ]
    reached = np.abs(entropy(np.nan_to_num(theirs)) - target) < 1e-6
    assert np.sum(reached & (np.array(rank) > 0.0)) <= right_at_most
    if scale == 4.0:  # the right entropy, with the order turned round
        assert np.sum(reached & (np.array(rank) < -0.99)) > 50
    ours = normalize(logits, target).weights
    for a, b in zip(ours[:20], logits, strict=False):
        assert scipy.stats.spearmanr(a, b).statistic > 1.0 - 1e-6


def test_the_sample_of_the_post_takes_few_steps():
    weights = np.random.default_rng(0).random((50, SIZE))
    target = np.log(30.0)
    got = normalize(np.log(weights), target, steps=8)
    assert got.converged.all()
    theirs = restarted(np.log(weights[0]), target, 10)
    np.testing.assert_allclose(got.weights[0], theirs, rtol=1e-4, atol=1e-7)


def test_a_second_time_changes_nothing():
    logits = 4.0 * normal(8, 30)
    once = normalize(logits, 2.0)
    again = normalize(once.power[:, None] * logits, 2.0)
    np.testing.assert_allclose(again.power, 1.0, rtol=1e-5)


@pytest.mark.parametrize("target", [0.0, 1.0, np.log(5), 4.0])
def test_equal_entries_stay_equal_whatever_the_target(target):
    got = normalize(np.full(5, -3.0), target)
    np.testing.assert_allclose(got.weights, 0.2, rtol=1e-6)
    assert got.power == 1.0
    assert got.converged == (abs(target - np.log(5)) < 1e-5)


def test_ties_at_the_top_and_zeros_bound_what_can_be_reached():
    logits = np.array([2.0, 2.0, 1.0, -np.inf, 0.0])
    low = normalize(logits, 0.5)  # below log 2
    np.testing.assert_allclose(low.weights, [0.5, 0.5, 0, 0, 0], atol=1e-7)
    assert low.power == jnp.inf
    assert not low.converged
    high = normalize(logits, 1.5)  # above log 4
    np.testing.assert_allclose(high.weights, [0.25, 0.25, 0.25, 0, 0.25], rtol=1e-6)
    assert high.power == 0.0
    assert not high.converged
    inside = normalize(logits, 1.0)
    assert inside.converged
    assert inside.weights[3] == 0.0


def test_one_entry_takes_everything_and_none_takes_nothing():
    one = normalize(np.array([-np.inf, 3.0, -np.inf]), 0.0)
    np.testing.assert_array_equal(one.weights, [0.0, 1.0, 0.0])
    assert one.converged
    none = normalize(np.full(3, -np.inf), 0.0)
    np.testing.assert_array_equal(none.weights, np.zeros(3))
    assert not none.converged


def test_hidden_entries_are_as_if_they_were_not_there():
    logits = normal(4, 12)
    where = np.arange(12)[None] < 7
    loud = np.where(where, logits, np.float32(np.nan))
    got = normalize(loud, 1.2, where=where)
    want = normalize(logits[:, :7], 1.2)
    np.testing.assert_allclose(got.weights[:, :7], want.weights, rtol=1e-5)
    assert not got.weights[:, 7:].any()

    def pick(x):
        return jnp.sum(compiled(x, 1.2, where=where).weights[:, 0])

    grad = np.asarray(jax.jit(jax.grad(pick))(loud))
    assert np.isfinite(grad).all()
    assert not grad[:, 7:].any()


def test_the_entropy_falls_with_the_power_by_the_variance():
    logits = normal(15)

    def curve(power):
        return softmax_entropy(power * logits)

    slope = jax.jit(jax.grad(curve))
    logs = scipy.special.log_softmax(np.float64(logits))
    for power in (0.3, 1.0, 2.5):
        weights = scipy.special.softmax(power * logs)
        mean = np.sum(weights * logs)
        want = -power * np.sum(weights * (logs - mean) ** 2)
        np.testing.assert_allclose(slope(power), want, rtol=1e-5)


@pytest.mark.slow
def test_gradients_are_those_of_finite_differences_in_float64():
    with jax.enable_x64(True):
        logits = np.random.default_rng(0).normal(size=(2, 7)) * 2.0
        pull = np.random.default_rng(1).normal(size=(2, 7))
        target = np.array([0.7, 1.5])

        def loss(logits, target):
            result = entropy_normalized(logits, target)
            return jnp.sum(result.weights * pull) + jnp.sum(result.power)

        got = jax.device_get(jax.jit(jax.grad(loss, (0, 1)))(logits, target))
        value = jax.jit(loss)
        for number, argument in enumerate((logits, target)):
            for place in np.ndindex(argument.shape):
                step = np.zeros(argument.shape)
                step[place] = 1e-6
                up, down = [logits, target], [logits, target]
                up[number], down[number] = argument + step, argument - step
                slope = (float(value(*up)) - float(value(*down))) / 2e-6
                np.testing.assert_allclose(
                    got[number][place], slope, rtol=1e-5, atol=1e-7
                )
        reached = normalize(logits, target).weights
        np.testing.assert_allclose(entropy(reached), target, rtol=1e-12)


def test_gradients_are_finite_where_nothing_can_be_reached():
    rows = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 0.0], [0.0, -np.inf, -80.0]])

    @jax.jit
    def slopes(logits, target):
        def loss(logits, target):
            return jnp.sum(jnp.square(entropy_normalized(logits, target).weights))

        return jax.grad(loss, (0, 1))(logits, target)

    for target in (0.0, 0.5, 1.0, 5.0):
        for slope in slopes(rows, target):
            assert np.isfinite(slope).all()


def test_each_row_has_its_own_target_under_vmap():
    logits = normal(3, 10)
    targets = np.array([0.5, 1.0, 2.0])
    got = normalize(logits, targets)
    want = jax.jit(jax.vmap(entropy_normalized))(logits, targets)
    np.testing.assert_allclose(got.weights, want.weights, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(entropy(got.weights), targets, rtol=1e-5)


def test_bfloat16_is_worked_on_in_float32():
    logits = normal(3, 10).astype(jnp.bfloat16)
    got = normalize(logits, 1.0)
    assert got.weights.dtype == got.power.dtype == jnp.float32
    assert got.converged.all()
    assert jax.jit(softmax_entropy)(logits).dtype == jnp.float32


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda x: entropy_normalized(x, np.ones(3)),
            r"target must broadcast to \(2,\)",
        ),
        (lambda x: entropy_normalized(x, 1.0, steps=0), "steps and tolerance"),
        (lambda x: entropy_normalized(x, 1.0, where=x), "where must be bool"),
        (lambda x: softmax_entropy(x, where=np.ones(5, bool)), "rank of logits"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call(np.zeros((2, 5), np.float32))


def test_the_gradient_goes_through_jit_and_vmap_together():
    logits = normal(3, 6)
    first = functools.partial(entropy_normalized, target=1.0)
    grad = jax.jit(jax.vmap(jax.grad(lambda x: first(x).weights[0])))(logits)
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(np.asarray(grad).sum(-1), 0.0, atol=1e-5)
