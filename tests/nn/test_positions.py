from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.linear import linear_attention
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.functional import functional
from kexue_jax.nn.positions import TrainedRotary
from kexue_jax.position.rotary import rotary

SIZES = dict(heads=2, head_size=8)


def test_trained_frequencies_begin_as_the_fixed_ones_of_their_base(keys):
    features = np.random.default_rng(0).normal(size=(2, 50, 2, 8)).astype(np.float32)
    for base in (100.0, 10000.0):
        init, apply = functional(partial(TrainedRotary, **SIZES, base=base))
        params, extras = jax.jit(init)(next(keys))
        got, _ = jax.jit(apply)(params, extras, features, np.arange(50))
        want = jax.jit(partial(rotary, base=base))(features, np.arange(50))
        np.testing.assert_allclose(got, want, atol=2e-5)


def test_gradients_reach_every_frequency_and_stay_finite(keys):
    mixer = partial(SelfAttention, 16, **SIZES, position=TrainedRotary)
    init, apply = functional(mixer)
    params, extras = jax.jit(init)(next(keys))
    stream = np.random.default_rng(0).normal(size=(1, 20, 16)).astype(np.float32)

    def loss(params):
        return jnp.sum(apply(params, extras, stream)[0] ** 2)

    slopes = jax.jit(jax.grad(loss))(params)["position"]["log_frequencies"]
    assert slopes.shape == (4,)
    assert (np.abs(np.asarray(slopes)) > 0.0).all()
    assert np.isfinite(slopes).all()


def test_a_step_changes_slow_and_fast_frequencies_by_the_same_share():
    made = TrainedRotary(**SIZES, rngs=nnx.Rngs(0))
    before = jnp.exp(made.log_frequencies[...])
    made.log_frequencies[...] = made.log_frequencies[...] + 0.1
    after = jnp.exp(made.log_frequencies[...])
    np.testing.assert_allclose(after, 1.105171 * before, rtol=1e-5)


def test_an_attention_that_turns_features_refuses_them():
    with pytest.raises(ValueError, match="TrainedRotary does not go with linear_att"):
        SelfAttention(
            16,
            **SIZES,
            attention=linear_attention,
            position=TrainedRotary,
            rngs=nnx.Rngs(0),
        )
