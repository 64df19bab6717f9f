import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.rotary import rotary
from kexue_jax.position.xpos import xpos_key, xpos_query


def test_each_pair_fades_with_the_distance_to_an_earlier_key(keys):
    query, key = (jax.random.normal(next(keys), (1, 1, 1, 8)) for _ in range(2))
    m, n = jnp.array([90]), jnp.array([20])
    got = xpos_query(query, m, unit=32.0) * xpos_key(key, n, unit=32.0)
    plain = np.float64(rotary(query, m)) * np.float64(rotary(key, n))
    xi = ((np.arange(0, 8, 2) / 8 + 0.4) / 1.4) ** ((90 - 20) / 32)
    np.testing.assert_allclose(got, plain * xi.repeat(2), rtol=1e-4, atol=1e-6)


def test_scores_depend_on_the_difference_of_positions_alone(keys):
    query, key = (jax.random.normal(next(keys), (1, 1, 1, 8)) for _ in range(2))

    def score(m, n):
        return jnp.sum(xpos_query(query, np.array([m])) * xpos_key(key, np.array([n])))

    np.testing.assert_allclose(score(905, 902), score(5, 2), rtol=1e-4, atol=1e-5)


def test_position_zero_is_left_alone_and_the_dtype_kept(keys):
    features = jax.random.normal(next(keys), (2, 3, 1, 4)).astype(jnp.bfloat16)
    positions = jnp.zeros((2, 3), jnp.int32)
    for grown in (xpos_query, xpos_key):
        got = jax.jit(grown)(features, positions)
        np.testing.assert_array_equal(got, features)
        assert got.dtype == jnp.bfloat16


def test_units_and_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="unit"):
        xpos_query(jnp.zeros((1, 2, 1, 4)), jnp.arange(2), unit=0.0)
    with pytest.raises(ValueError, match="head size 3"):
        xpos_key(jnp.zeros((1, 2, 1, 3)), jnp.arange(2))
