import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position import kerple
from kexue_jax.position.alibi import alibi_bias

kerple_log_bias = jax.jit(kerple.kerple_log_bias)
kerple_power_bias = jax.jit(kerple.kerple_power_bias)
SLOPE, RATE = np.float32([0.5, 2.0]), np.float32([0.3, 1.5])


def distances(t, s):
    return np.abs(np.arange(t)[:, None] - np.arange(s)).astype(np.float64)


def test_is_the_formula_of_the_paper():
    slope, rate = (np.float64(x)[:, None, None] for x in (SLOPE, RATE))
    got = np.asarray(kerple_log_bias(SLOPE, RATE, np.arange(4), np.arange(6)))[0]
    np.testing.assert_allclose(got, -slope * np.log1p(rate * distances(4, 6)), 1e-6)
    got = np.asarray(kerple_power_bias(SLOPE, RATE, np.arange(4), np.arange(6)))[0]
    np.testing.assert_allclose(got, -slope * distances(4, 6) ** rate, 1e-5)


def test_the_first_power_is_alibi():
    got = kerple_power_bias(SLOPE, np.ones(2), np.arange(5), np.arange(5))
    want = jax.jit(alibi_bias)(SLOPE, np.arange(5), np.arange(5))
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("bias", [kerple_log_bias, kerple_power_bias])
def test_gradients_are_finite_at_distance_zero(bias):
    def loss(slope, rate):
        return jnp.sum(bias(slope, rate, np.arange(3), np.arange(3)))

    grads = jax.device_get(jax.jit(jax.grad(loss, argnums=(0, 1)))(SLOPE, RATE))
    assert all(np.isfinite(g).all() and (g != 0).all() for g in grads)


@pytest.mark.parametrize("bias", [kerple_log_bias, kerple_power_bias])
def test_both_parameters_have_one_entry_per_head(bias):
    with pytest.raises(ValueError, match=r"\(2,\), \(3,\)"):
        bias(SLOPE, np.ones(3), np.arange(3), np.arange(3))
