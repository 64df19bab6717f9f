import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.nn.casrel import CasRel
from kexue_jax.nn.conditional_norm import ConditionalLayerNorm


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_conditional_norm_begins_as_the_plain_one():
    norm = ConditionalLayerNorm(6, 3, rngs=nnx.Rngs(0))
    inputs, condition = drawn(2, 4, 6), drawn(2, 3)
    plain = nnx.LayerNorm(6, rngs=nnx.Rngs(0))
    found = jax.jit(norm.__call__)(inputs, condition)
    np.testing.assert_allclose(found, plain(inputs), rtol=1e-5, atol=1e-6)


def test_gain_and_shift_are_linear_in_the_condition():
    norm = ConditionalLayerNorm(6, 3, rngs=nnx.Rngs(0))
    inputs, condition = drawn(2, 4, 6), drawn(2, 3)
    gain, shift = np.random.default_rng(1).normal(size=(2, 3, 6))
    norm.gain.kernel[...] = jnp.asarray(gain, jnp.float32)
    norm.shift.kernel[...] = jnp.asarray(shift, jnp.float32)
    wide = inputs.astype(np.float64)
    normed = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(
        wide.var(-1, keepdims=True) + 1e-6
    )
    want = (1.0 + condition @ gain)[:, None] * normed + (condition @ shift)[:, None]
    found = jax.jit(norm.__call__)(inputs, condition)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="inputs and condition"):
        norm(inputs, condition[:1])


def test_objects_are_those_of_the_subject_that_is_given():
    model = CasRel(6, predicates=3, rngs=nnx.Rngs(0))
    kernel = np.random.default_rng(2).normal(size=(12, 6))
    model.norm.gain.kernel[...] = jnp.asarray(kernel, jnp.float32)
    states, subject = drawn(2, 5, 6), np.array([[1, 3], [4, 4]])
    heads, objects = nnx.jit(CasRel.__call__)(model, states, subject)
    assert heads.shape == (2, 5, 2)
    assert objects.shape == (2, 5, 3, 2)
    condition = np.stack(
        [
            np.concatenate([s[i], s[j]])
            for s, (i, j) in zip(states, subject, strict=True)
        ]
    )
    normed = model.norm(states, condition)
    want = np.asarray(model.object(normed)).reshape(2, 5, 3, 2)
    np.testing.assert_allclose(objects, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(heads, model.subject(states), rtol=1e-5, atol=1e-6)
    other = jax.jit(model.objects)(states, np.array([[1, 2], [4, 4]]))
    assert np.abs(other[0] - objects[0]).max() > 1e-3
    np.testing.assert_allclose(other[1], objects[1], rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="predicates must be at least 1, got 0"):
        CasRel(4, predicates=0, rngs=nnx.Rngs(0))
    model = CasRel(4, predicates=1, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"\[B, T, D\] and \[B, 2\]"):
        model.objects(drawn(1, 2, 4), np.zeros((1, 3), np.int32))
