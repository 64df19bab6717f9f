from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.data.labelled import digit_pixels, labelled, table
from kexue_jax.data.lookup import lookup
from kexue_jax.data.prediction import causal_text
from kexue_jax.data.prose import Prose
from kexue_jax.data.tokenization import byte_tokens
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.perceptron import Perceptron
from kexue_jax.nn.transformer import Transformer
from kexue_jax.tasks.classification import Classification, calibration_error
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
    params, extras = task.init(next(keys))
    scores = task.evaluate(params, extras)
    total = right = count = 0.0
    for batch in data.held_out["valid_16"]:
        logits, _ = task.apply(params, extras, batch["tokens"])
        logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
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
    params, extras = task.init(next(keys))
    batch = data.source(0)
    loss, (_, scores) = task.loss(params, extras, batch, None)
    other = batch | {"targets": np.where(batch["weight"] > 0, batch["targets"], 1)}
    assert task.loss(params, extras, other, None)[0] == loss
    assert scores["weight"] == 5
    none = batch | {"weight": np.zeros_like(batch["weight"])}
    assert task.loss(params, extras, none, None)[0] == 0.0


def test_the_target_of_a_lookup_is_the_item_of_that_name():
    data = lookup(names=5, contents=7, batch=50, held_out=20)
    for batch in (data.source(3), *data.held_out["valid"]):
        asked = batch["tokens"][:, -1] - 5 * 7
        assert (np.sort(batch["tokens"][:, :-1] // 7, axis=1) == np.arange(5)).all()
        target = batch["targets"][:, -1]
        np.testing.assert_array_equal(target // 7, asked)
        assert (batch["tokens"] == target[:, None]).sum(axis=1).tolist() == [1] * len(
            asked
        )
    assert (data.source(3)["tokens"] == data.source(3)["tokens"]).all()
    assert (data.source(3)["tokens"] != data.source(4)["tokens"]).any()
    with pytest.raises(ValueError, match="names >= 1"):
        lookup(names=0)


class Rows(Perceptron):
    def __init__(self, classes, *, columns, rngs):
        super().__init__((columns, 8, classes), rngs=rngs)

    def __call__(self, inputs, *, train=False, rng=None):
        return super().__call__(inputs)


def test_classes_are_scored_on_all_that_is_held_out_and_nothing_else(keys):
    data = table("wine", batch=25)
    task = Classification(data=data, model=partial(Rows, columns=13))
    params, extras = task.init(next(keys))
    scores = task.evaluate(params, extras)
    rows = np.concatenate([b["inputs"][b["weight"] > 0] for b in data.held_out])
    label = np.concatenate([b["label"][b["weight"] > 0] for b in data.held_out])
    assert len(label) == 178 // 5
    found = np.asarray(jax.nn.log_softmax(task.apply(params, extras, rows)[0]))
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
    params, extras = plain.init(next(keys))
    batch = data.source(0)
    logs, _ = plain._all(params, extras, batch["inputs"])
    want = 0.7 * plain.loss(params, extras, batch, None)[0] - 0.3 * jnp.mean(logs)
    got = smooth.loss(params, extras, batch, None)[0]
    np.testing.assert_allclose(got, want, rtol=1e-5)
    with pytest.raises(ValueError, match="smoothing"):
        Classification(data=data, model=Rows, smoothing=1.0)


def test_calibration_is_perfect_where_confidence_is_accuracy():
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    confidence = np.array([0.75] * 4 + [0.25] * 4)
    assert calibration_error(confidence, right) == 0.0
    assert calibration_error(np.full(4, 0.95), np.zeros(4)) == pytest.approx(0.95)
    assert calibration_error(np.ones(4), np.ones(4)) == 0.0


def test_columns_are_scaled_on_the_rows_to_learn_from_alone():
    data = table("breast_cancer", batch=10_000)
    rows = data.source(0)["inputs"]
    np.testing.assert_allclose(rows.mean(axis=0), 0.0, atol=0.05)
    assert abs(np.concatenate([b["inputs"] for b in data.held_out]).mean()) < 0.5
    pixels = digit_pixels(batch=10)
    assert pixels.source(0)["inputs"].shape == (10, 64)
    assert (
        0 <= pixels.source(0)["inputs"].min() <= pixels.source(0)["inputs"].max() < 17
    )
    with pytest.raises(ValueError, match="name must be one of"):
        table("iris")
    with pytest.raises(ValueError, match="held_out must be at least 2"):
        labelled(np.zeros((3, 1)), np.zeros(3), batch=1, held_out=1, seed=0)
