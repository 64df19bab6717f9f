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
    hidden = jnp.where(mask[..., None], states, jnp.nan)
    first, last, mean, both = jax.jit(pooled)(hidden, mask)
    np.testing.assert_array_equal(first, [states[0, 0], states[1, 1]])
    np.testing.assert_array_equal(last, [states[0, 4], states[1, 3]])
    want = np.stack([states[0].mean(0), states[1, 1:4].mean(0)])
    np.testing.assert_allclose(mean, want, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(both, want + 0.5, rtol=1e-5, atol=1e-7)


def test_what_fills_up_changes_nothing():
    states, mask = texts()
    found = jax.jit(pooled)(states, mask)
    plain = [f(jnp.asarray(states[1, 1:4])) for f in OF_ONE]
    for one, other in zip(found, plain, strict=False):
        np.testing.assert_allclose(one[1], other, rtol=1e-5, atol=1e-7)


def test_a_text_without_tokens_gives_zeros_and_finite_gradients():
    states = jnp.full((1, 3, 2), jnp.nan, jnp.bfloat16)
    nothing = jnp.zeros((1, 3), bool)
    found, pull = jax.vjp(lambda s: jnp.stack(pooled(s, nothing)), states)
    assert found.dtype == jnp.float32
    assert not found.any()
    (slope,) = pull(jnp.ones_like(found))
    assert not slope.any()


def test_what_does_not_fit_is_refused():
    states = jnp.ones((2, 3, 4))
    for function in OF_ONE:
        with pytest.raises(ValueError, match=r"mask must be bool \(2, 3\), got bool"):
            function(states, jnp.ones((2, 4), bool))
        with pytest.raises(ValueError, match="got float32"):
            function(states, jnp.ones((2, 3)))
        with pytest.raises(ValueError, match=r"states must be \[..., T, D\]"):
            function(jnp.ones((2, 0, 4)))
    with pytest.raises(ValueError, match="first and last must have one shape"):
        first_last_average(states, states[:1])
