from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from kexue_jax.algorithms.zeroth_order import centred_ranks, zeroth_order_gradient

SLOPE = {"w": np.array([[1.0, -2.0], [0.5, 0.0]], np.float32), "b": np.float32(3.0)}
PLACE = {"w": np.array([[0.2, 0.1], [-0.3, 1.0]], np.float32), "b": np.float32(0.5)}
SIZE = 5
SQUARE = sum(float(np.sum(np.square(s))) for s in SLOPE.values())


def linear(x):
    return sum(jnp.sum(SLOPE[name] * x[name]) for name in SLOPE)


def flat(tree):
    return np.concatenate(
        [np.ravel(x).astype(np.float64) for x in (tree["b"], tree["w"])]
    )


def many(f, keys, count=4000, **options):
    """Single estimates, ``[count, SIZE]``."""
    one = partial(zeroth_order_gradient, f, PLACE, **options)
    found = jax.jit(jax.vmap(one))(jax.random.split(next(keys), count))
    found = [np.asarray(found[n], np.float64).reshape(count, -1) for n in ("b", "w")]
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("estimator", ["central", "forward", "one_point"])
@pytest.mark.parametrize("distribution", ["normal", "rademacher", "sphere"])
def test_of_a_linear_function_mean_and_variance_are_those_of_theory(
    estimator, distribution, keys
):
    found = many(
        linear, keys, estimator=estimator, distribution=distribution, deviation=0.5
    )
    spread = found.var(axis=0).sum()
    want = (SIZE + 1 if distribution == "normal" else SIZE - 1) * SQUARE
    if estimator == "one_point":
        want += SIZE * float(linear(PLACE)) ** 2 / 0.5**2
    error = found.mean(axis=0) - flat(SLOPE)
    assert np.linalg.norm(error) < 4.0 * np.sqrt(want / len(found))
    np.testing.assert_allclose(spread, want, rtol=0.15)


@pytest.mark.parametrize("directions", [5, 10])
def test_a_whole_block_at_right_angles_is_exact(directions, keys):
    options = dict(deviation=0.1, directions=directions, distribution="orthogonal")
    found = jax.jit(partial(zeroth_order_gradient, linear, chunk=2, **options))(
        PLACE, next(keys)
    )
    np.testing.assert_allclose(flat(found), flat(SLOPE), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("distribution", "shaping"), [("normal", "ranks"), ("orthogonal", "none")]
)
def test_the_chunk_changes_nothing(distribution, shaping, keys):
    def f(x):
        return jnp.sum(jnp.sin(x["w"])) * x["b"]

    options = dict(deviation=0.3, directions=7)
    options |= dict(distribution=distribution, shaping=shaping)

    @jax.jit
    def each(key):
        return [
            zeroth_order_gradient(f, PLACE, key, chunk=chunk, **options)
            for chunk in (7, 3, 1)
        ]

    whole, part, alone = map(flat, each(next(keys)))
    np.testing.assert_allclose(part, whole, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone, whole, rtol=1e-4, atol=1e-5)


def test_central_has_the_mean_of_a_quadratic_at_any_deviation(keys):
    def bowl(x):
        return jnp.sum(jnp.square(x["w"])) + 3.0 * jnp.square(x["b"])

    for estimator in ("central", "forward"):
        found = many(bowl, keys, estimator=estimator, deviation=2.0)
        error = np.abs(found.mean(axis=0) - flat(jax.grad(bowl)(PLACE)))
        assert (error < 4.5 * found.std(axis=0) / np.sqrt(len(found))).all()


def test_a_step_gets_the_slope_of_its_smoothed_self(keys):
    places = np.array([0.1, 0.3, 1.0], np.float32)
    found = jax.jit(
        jax.vmap(
            lambda x, key: zeroth_order_gradient(
                lambda x: jnp.where(x > 0.0, 1.0, 0.0),
                x,
                key,
                deviation=0.5,
                directions=20_000,
                chunk=20_000,
            )
        )
    )(places, jax.random.split(next(keys), 3))
    np.testing.assert_allclose(found, stats.norm.pdf(places, scale=0.5), atol=0.03)


def test_baselines_leave_the_mean_and_take_the_square_of_the_value_away(keys):
    def raised(x):
        return linear(x) + 10.0

    options = dict(deviation=0.5, directions=8, chunk=8, estimator="one_point")
    spreads = {}
    for baseline in ("none", "leave_one_out", "optimal"):
        found = many(raised, keys, count=2000, baseline=baseline, **options)
        error = found.mean(axis=0) - flat(SLOPE)
        spreads[baseline] = found.var(axis=0).sum()
        assert np.linalg.norm(error) < 4.0 * np.sqrt(spreads[baseline] / len(found))
    assert spreads["leave_one_out"] < 0.1 * spreads["none"]
    assert spreads["optimal"] < 0.1 * spreads["none"]


def test_ranks_do_not_see_how_values_are_stretched(keys):
    key = next(keys)

    options = dict(deviation=0.5, directions=16, chunk=16, shaping="ranks")

    @jax.jit
    def both(key):
        stretched = lambda x: jnp.exp(linear(x)) + 3.0  # noqa: E731
        return [
            zeroth_order_gradient(f, PLACE, key, **options) for f in (linear, stretched)
        ]

    plain, other = map(flat, both(key))
    np.testing.assert_array_equal(other, plain)
    cosine = plain @ flat(SLOPE) / np.linalg.norm(plain) / np.linalg.norm(flat(SLOPE))
    assert cosine > 0.7


def test_ranks_are_those_of_scipy(keys):
    values = jnp.round(3.0 * jax.random.normal(next(keys), (50,)))
    want = (stats.rankdata(values) - 1.0) / 49.0 - 0.5
    np.testing.assert_allclose(jax.jit(centred_ranks)(values), want, atol=1e-6)
    assert centred_ranks(jnp.ones(1)) == 0.0
    assert centred_ranks(jnp.ones(0)).shape == (0,)
    assert jnp.isnan(centred_ranks(jnp.array([1.0, jnp.nan]))).all()


def test_bfloat16_is_moved_in_float32_and_comes_back_as_it_was(keys):
    place = jnp.full(4, 100.0, jnp.bfloat16)

    def f(x):
        assert x.dtype == jnp.float32
        return jnp.sum(x)

    found = zeroth_order_gradient(
        f, place, next(keys), deviation=1e-2, directions=4, distribution="orthogonal"
    )
    assert found.dtype == jnp.bfloat16
    np.testing.assert_allclose(found.astype(np.float32), 1.0, rtol=2e-2)


def test_nothing_and_flat_functions_have_no_slope(keys):
    assert zeroth_order_gradient(lambda x: 1.0, {}, next(keys), deviation=1.0) == {}
    for estimator in ("central", "forward"):
        found = zeroth_order_gradient(
            lambda x: jnp.ones((), int),
            PLACE,
            next(keys),
            deviation=1.0,
            estimator=estimator,
        )
        assert not flat(found).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(deviation=0.0), "deviation must be positive, got 0.0"),
        (dict(directions=0), "directions must be at least 1"),
        (dict(estimator="two_point"), "estimator must be one of"),
        (dict(distribution="cauchy"), "distribution must be one of"),
        (dict(shaping="signs"), "shaping must be one of"),
        (dict(baseline="optimal", directions=2), "a baseline is for one_point"),
        (dict(estimator="one_point", baseline="optimal"), "at least 2 directions"),
        (dict(estimator="forward", shaping="ranks"), "not of forward"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message, keys):
    with pytest.raises(ValueError, match=message):
        zeroth_order_gradient(
            linear, PLACE, next(keys), **dict(deviation=1.0) | options
        )


def test_what_is_no_number_or_not_floating_is_refused(keys):
    with pytest.raises(ValueError, match=r"one number, got the shape \(2,\)"):
        zeroth_order_gradient(lambda x: x, jnp.ones(2), next(keys), deviation=1.0)
    with pytest.raises(ValueError, match="must be floating, got int32"):
        zeroth_order_gradient(jnp.sum, jnp.ones(2, int), next(keys), deviation=1.0)
