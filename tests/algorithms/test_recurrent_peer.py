"""Recurrent cells beside those of torch, gates put in order and z turned round."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.recurrent import (
    CellState,
    ResetAfterWeights,
    Weights,
    gru_reset_after_step,
    lstm_step,
    simple_step,
    unroll,
)

pytestmark = pytest.mark.peer


def unrolled(keys, name):
    torch = pytest.importorskip("torch")
    module = getattr(torch.nn, name)(3, 4, batch_first=True)
    inputs = jax.random.normal(next(keys), (2, 6, 3))
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(
                torch.tensor(np.asarray(jax.random.normal(next(keys), tuple(p.shape))))
            )
        states, _ = module(torch.tensor(np.asarray(inputs)))
    w = {n: jnp.asarray(p.detach().numpy()).T for n, p in module.named_parameters()}
    kernels = [w["weight_ih_l0"], w["weight_hh_l0"]]
    return inputs, kernels, w["bias_ih_l0"], w["bias_hh_l0"], states.numpy()


def test_the_lstm_is_that_of_torch(keys):
    inputs, kernels, bias, other, want = unrolled(keys, "LSTM")
    zeros = jnp.zeros((2, 4))
    params = Weights(*kernels, bias + other)
    _, states = unroll(lstm_step, params, CellState(zeros, zeros), inputs)
    np.testing.assert_allclose(states.hidden, want, rtol=1e-4, atol=1e-5)


def test_the_simple_net_is_that_of_torch(keys):
    inputs, kernels, bias, other, want = unrolled(keys, "RNN")
    params = Weights(*kernels, bias + other)
    _, states = unroll(simple_step, params, jnp.zeros((2, 4)), inputs)
    np.testing.assert_allclose(states, want, rtol=1e-4, atol=1e-5)


def test_the_gru_of_torch_resets_after_and_keeps_by_z(keys):
    inputs, kernels, bias, other, want = unrolled(keys, "GRU")
    sign = jnp.repeat(jnp.array([1.0, -1.0, 1.0]), 4)
    kernels = [kernel * sign[None] for kernel in kernels]
    gates = (bias + jnp.concatenate([other[:8], jnp.zeros(4)])) * sign
    params = ResetAfterWeights(*kernels, gates, other[8:])
    _, states = unroll(gru_reset_after_step, params, jnp.zeros((2, 4)), inputs)
    np.testing.assert_allclose(states, want, rtol=1e-4, atol=1e-5)
