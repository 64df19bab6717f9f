from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.algorithms.recurrent import gru_step, lstm_step, simple_step
from kexue_jax.data.delayed import DelayedSymbol
from kexue_jax.nn.functional import functional
from kexue_jax.nn.recurrent import RecurrentClassifier
from kexue_jax.tasks.recurrent_lags import RecurrentLags


def test_scores_are_those_of_every_lag_and_of_its_own_nets():
    data = DelayedSymbol(lags=(4, 2), symbols=3, others=2, batch=5, held_out_rows=40)
    model = partial(
        RecurrentClassifier, size=3, step=lstm_step, biases=(0.0, 3.0, 0.0, 0.0)
    )
    task = RecurrentLags(data=data, model=model, repeats=2)
    params, extras = jax.jit(task.init)(jax.random.key(0))
    scores = task.evaluate(params, extras)
    assert params["bias"].shape == (2, 2, 12)
    assert scores["lag_4/first"] < 0.0
    np.testing.assert_allclose(scores["lag_4/last"], scores["lag_4/first"], rtol=1e-5)
    assert scores["all/solved"] == 0.0
    loss, (_, found) = jax.jit(task.loss)(params, extras, data.source(0), None)
    np.testing.assert_allclose(loss, 4 * found["loss"], rtol=1e-5)
    assert [exhibit.title[:8] for exhibit in task.exhibits(params, extras)] == [
        "Lags",
        "Gradient",
        "Gradient",
    ]


def test_what_stands_before_a_sequence_is_not_read():
    init, apply = functional(partial(RecurrentClassifier, 2, 3, size=4, step=gru_step))
    params, extras = jax.jit(init)(jax.random.key(0))
    apply = jax.jit(apply)
    inputs = np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32)
    got, _ = apply(params, extras, inputs, np.arange(5)[None] >= 2)
    want, _ = apply(params, extras, inputs[:, 2:])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_net_of_an_unknown_step_or_with_too_few_biases_is_refused():
    with pytest.raises(ValueError, match="step must be one of"):
        RecurrentClassifier(2, 3, size=4, step=jnp.add, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="biases must be 1 numbers"):
        RecurrentClassifier(
            2, 3, size=4, step=simple_step, biases=(0.0, 1.0), rngs=nnx.Rngs(0)
        )
    with pytest.raises(ValueError, match="repeats"):
        RecurrentLags(data=DelayedSymbol(), model=RecurrentClassifier, repeats=0)
