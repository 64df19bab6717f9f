from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.data.folds import folded_table
from kexue_jax.nn.rows import RowClassifier
from kexue_jax.tasks.classification import Classification
from kexue_jax.tasks.cross_validation import CrossValidation


def test_each_model_is_trained_as_if_it_were_alone(keys):
    data = folded_table("wine", batch=16, folds=3, repeats=2)
    model = partial(RowClassifier, hidden=(4,))
    task = CrossValidation(data={"wine": data}, model=model)
    params, extras = jax.device_get(jax.jit(task.init)(next(keys)))
    batch = task.batch(3)
    slopes = jax.jit(jax.grad(lambda p: task.loss(p, extras, batch, None)[0]))
    grads = jax.device_get(slopes(params))
    alone = Classification(data=data, model=partial(model, 13))
    rows = {k: batch[f"wine/{k}"][:, 4] for k in ("inputs", "label")}
    own = jax.tree.map(lambda x: x[4], params["wine"])
    slopes = jax.jit(jax.grad(lambda p: alone.loss(p, {}, rows, None)[0]))
    want = jax.device_get(slopes(own))
    got = jax.tree.map(lambda x: x[4], grads["wine"])
    assert max(np.abs(x).max() for x in jax.tree.leaves(want)) > 0.01
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), got, want)
    scores = task.evaluate(params, extras)
    hits, read = [], jax.jit(alone.apply)
    for k in range(6):
        one = jax.tree.map(lambda x, k=k: x[k], params["wine"])
        logits, _ = read(one, {}, data._scaled[k][data._valid[k]])
        hits += (np.argmax(logits, -1) == data.label[data._valid[k]]).tolist()
    assert len(hits) == 2 * 178
    np.testing.assert_allclose(scores["wine/accuracy"], np.mean(hits))
    assert len(task.exhibits(params, extras)) == 3


def test_without_tables_there_is_no_task():
    with pytest.raises(ValueError, match="at least one table"):
        CrossValidation(data={}, model=RowClassifier)
