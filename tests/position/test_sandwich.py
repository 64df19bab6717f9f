import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.sandwich import sandwich_bias
from kexue_jax.position.sinusoidal import sinusoidal


def test_is_the_product_of_two_sinusoidal_positions():
    query, key = np.array([50, 90]), np.arange(100)
    table = [sinusoidal(x, size=16, base=100.0) for x in (query, key)]
    want = np.float64(table[0]) @ np.float64(table[1]).T
    strengths = jnp.array([1.0, 0.5])
    got = jax.jit(sandwich_bias, static_argnames=("size", "base"))(
        strengths, jnp.asarray(query), jnp.asarray(key), size=16, base=100.0
    )
    assert got.shape == (1, 2, 2, 100)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0, 0], want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[0, 1], want / 2, rtol=1e-5, atol=1e-5)


def test_strengths_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="strengths"):
        sandwich_bias(jnp.ones(()), jnp.arange(2), jnp.arange(2))
