import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position import xpos
from kexue_jax.position.rotary import rotary

xpos_query = jax.jit(xpos.xpos_query, static_argnames="unit")
xpos_key = jax.jit(xpos.xpos_key, static_argnames="unit")


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_each_pair_fades_with_the_distance_to_an_earlier_key():
    query, key = normal(2, 1, 1, 1, 8)
    m, n, turn = np.array([90]), np.array([20]), jax.jit(rotary)
    got = np.asarray(xpos_query(query, m, unit=32.0))
    got = got * np.asarray(xpos_key(key, n, unit=32.0))
    plain = np.float64(turn(query, m)) * np.float64(turn(key, n))
    xi = ((np.arange(0, 8, 2) / 8 + 0.4) / 1.4) ** ((90 - 20) / 32)
    np.testing.assert_allclose(got, plain * xi.repeat(2), rtol=1e-4, atol=1e-6)


def test_scores_depend_on_the_difference_of_positions_alone():
    query, key = normal(2, 1, 1, 1, 8)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def score(m, n):
        at, to = np.array([m]), np.array([n])
        return jnp.sum(xpos.xpos_query(query, at) * xpos.xpos_key(key, to))

    np.testing.assert_allclose(score(905, 902), score(5, 2), rtol=1e-4, atol=1e-5)


def test_position_zero_is_left_alone_and_the_dtype_kept():
    features = normal(2, 3, 1, 4).astype(jnp.bfloat16)
    positions = np.zeros((2, 3), np.int32)
    for grown in (xpos_query, xpos_key):
        got = grown(features, positions)
        np.testing.assert_array_equal(got, features)
        assert got.dtype == jnp.bfloat16


def test_units_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="unit"):
        xpos_query(np.zeros((1, 2, 1, 4)), np.arange(2), unit=0.0)
    with pytest.raises(ValueError, match="head size 3"):
        xpos_key(np.zeros((1, 2, 1, 3)), np.arange(2))
