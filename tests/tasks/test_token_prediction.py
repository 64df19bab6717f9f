from functools import partial

import jax
import numpy as np
from scipy.special import log_softmax

from kexue_jax.data.lookup import lookup
from kexue_jax.data.prediction import causal_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.transformer import Transformer
from kexue_jax.tasks.token_prediction import TokenPrediction

TEXT = Prose(("the cat sat on the mat. " * 20,), "the rat sat. " * 30)
MODEL = partial(
    Transformer,
    features=8,
    layers=1,
    hidden=16,
    mixer=partial(SelfAttention, heads=1, head_size=8),
)


def test_held_out_scores_are_means_over_what_is_asked(keys):
    data = causal_text(TEXT, byte_tokens, length=8, batch=3, lengths=(8, 16))
    task = TokenPrediction(data=data, model=MODEL)
    params, extras = jax.jit(task.init)(next(keys))
    scores = task.evaluate(params, extras)
    total = right = count = 0.0
    apply = jax.jit(task.apply)
    for batch in data.held_out["valid_16"]:
        logits, _ = apply(params, extras, batch["tokens"])
        logs = log_softmax(np.asarray(logits, np.float64), axis=-1)
        for b, t in zip(*np.nonzero(batch["weight"]), strict=True):
            total -= logs[b, t, batch["targets"][b, t]]
            right += logs[b, t].argmax() == batch["targets"][b, t]
            count += 1
    np.testing.assert_allclose(scores["valid_16/loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(scores["valid_16/accuracy"], right / count)
    shown = task.exhibits(params, extras)
    assert [row[0] for row in shown[0].rows] == ["valid_8", "valid_16"]


def test_the_loss_reads_the_asked_targets_alone(keys):
    data = lookup(names=3, contents=4, batch=5, held_out=7)
    model = partial(MODEL, is_causal=False)
    task = TokenPrediction(data=data, model=model)
    params, extras = jax.jit(task.init)(next(keys))
    batch, objective = data.source(0), jax.jit(task.loss)
    loss, (_, scores) = jax.device_get(objective(params, extras, batch, None))
    other = batch | {"targets": np.where(batch["weight"] > 0, batch["targets"], 1)}
    assert float(objective(params, extras, other, None)[0]) == loss
    assert scores["weight"] == 5
    none = batch | {"weight": np.zeros_like(batch["weight"])}
    assert float(objective(params, extras, none, None)[0]) == 0.0
