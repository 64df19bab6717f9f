import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.pooling import (
    first_last_average,
    first_token,
    last_token,
    mean_of_tokens,
)

OF_ONE = [first_token, last_token, mean_of_tokens]


def texts():
    """States ``[2, 5, 3]`` of 5 and of 3 tokens, the latter at places 1 to 3."""
    states = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    mask = np.array([[True] * 5, [False, True, True, True, False]])
    return states, mask


def pooled(states, mask):
    return [f(states, mask) for f in OF_ONE] + [
        first_last_average(states, states + 1.0, mask)
    ]


def test_they_pick_or_average_what_the_mask_keeps():
    states, mask = texts()
    hidden = np.where(mask[..., None], states, np.float32(np.nan))
    first, last, mean, both = jax.jit(pooled)(hidden, mask)
    np.testing.assert_array_equal(first, [states[0, 0], states[1, 1]])
    np.testing.assert_array_equal(last, [states[0, 4], states[1, 3]])
    want = np.stack([states[0].mean(0), states[1, 1:4].mean(0)])
    np.testing.assert_allclose(mean, want, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(both, want + 0.5, rtol=1e-5, atol=1e-7)


def test_what_fills_up_changes_nothing():
    states, mask = texts()
    found = jax.device_get(jax.jit(pooled)(states, mask))
    plain = jax.jit(lambda states: [f(states) for f in OF_ONE])(states[1, 1:4])
    for one, other in zip(found, plain, strict=False):
        np.testing.assert_allclose(one[1], other, rtol=1e-5, atol=1e-7)


def test_a_text_without_tokens_gives_zeros_and_finite_gradients():
    nothing = np.zeros((1, 3), bool)

    @jax.jit
    def with_gradient(states):
        found, pull = jax.vjp(lambda s: jnp.stack(pooled(s, nothing)), states)
        return found, pull(jnp.ones_like(found))[0]

    found, slope = with_gradient(np.full((1, 3, 2), np.nan, jnp.bfloat16))
    assert found.dtype == jnp.float32
    assert not np.asarray(found).any()
    assert not np.asarray(slope).any()


def test_what_does_not_fit_is_refused():
    states = np.ones((2, 3, 4), np.float32)
    for function in OF_ONE:
        with pytest.raises(ValueError, match=r"mask must be bool \(2, 3\), got bool"):
            function(states, np.ones((2, 4), bool))
        with pytest.raises(ValueError, match="got float32"):
            function(states, np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match=r"states must be \[..., T, D\]"):
            function(np.ones((2, 0, 4)))
    with pytest.raises(ValueError, match="first and last must have one shape"):
        first_last_average(states, states[:1])
