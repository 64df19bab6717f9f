from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import log_softmax

from kexue_jax.data.labelled import table
from kexue_jax.nn.perceptron import Perceptron
from kexue_jax.tasks.classification import Classification, calibration_error


class Rows(Perceptron):
    def __init__(self, classes, *, columns, rngs):
        super().__init__((columns, 8, classes), rngs=rngs)

    def __call__(self, inputs, *, train=False, rng=None):
        return super().__call__(inputs)


def test_classes_are_scored_on_all_that_is_held_out_and_nothing_else(keys):
    data = table("wine", batch=25)
    task = Classification(data=data, model=partial(Rows, columns=13))
    params, extras = jax.jit(task.init)(next(keys))
    scores = task.evaluate(params, extras)
    rows = np.concatenate([b["inputs"][b["weight"] > 0] for b in data.held_out])
    label = np.concatenate([b["label"][b["weight"] > 0] for b in data.held_out])
    assert len(label) == 178 // 5
    logits, _ = jax.jit(task.apply)(params, extras, rows)
    found = log_softmax(np.asarray(logits), axis=-1)
    want = -found[np.arange(len(label)), label].mean()
    np.testing.assert_allclose(scores["valid/loss"], want, rtol=1e-5)
    accuracy = (found.argmax(-1) == label).mean()
    np.testing.assert_allclose(scores["valid/accuracy"], accuracy)
    assert len(task.exhibits(params, extras)) == 3


def test_smoothing_spreads_its_share_over_all_classes(keys):
    data = table("wine", batch=25)
    plain, smooth = (
        Classification(data=data, model=partial(Rows, columns=13), smoothing=share)
        for share in (0.0, 0.3)
    )
    params, extras = jax.jit(plain.init)(next(keys))
    batch = data.source(0)
    logits, _ = jax.jit(plain.apply)(params, extras, batch["inputs"])
    logs = log_softmax(np.asarray(logits), axis=-1)
    own, got = (
        np.asarray(jax.jit(task.loss)(params, extras, batch, None)[0])
        for task in (plain, smooth)
    )
    want = 0.7 * own - 0.3 * np.mean(logs)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(ValueError, match="smoothing"):
        Classification(data=data, model=Rows, smoothing=1.0)


def test_calibration_is_perfect_where_confidence_is_accuracy():
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    confidence = np.array([0.75] * 4 + [0.25] * 4)
    assert calibration_error(confidence, right) == 0.0
    assert calibration_error(np.full(4, 0.95), np.zeros(4)) == pytest.approx(0.95)
    assert calibration_error(np.ones(4), np.ones(4)) == 0.0
