from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.sandwich import sandwich_bias
from kexue_jax.position.sinusoidal import sinusoidal


def test_is_the_product_of_two_sinusoidal_positions():
    query, key = np.array([50, 90]), np.arange(100)
    encode = partial(sinusoidal, size=16, base=100.0)
    table = [jax.jit(partial(encode, x))() for x in (query, key)]
    want = np.float64(table[0]) @ np.float64(table[1]).T
    bias = jax.jit(partial(sandwich_bias, size=16, base=100.0))
    got = np.asarray(bias(np.array([1.0, 0.5]), query, key))
    assert got.shape == (1, 2, 2, 100)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got[0, 0], want, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(got[0, 1], want / 2, rtol=1e-5, atol=1e-5)


def test_strengths_of_another_rank_are_refused():
    with pytest.raises(ValueError, match="strengths"):
        sandwich_bias(np.ones(()), np.arange(2), np.arange(2))
