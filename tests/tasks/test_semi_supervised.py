import functools

import jax
import numpy as np
import pytest

from kexue_jax.data.partly_labelled import partly_labelled_digits
from kexue_jax.losses import virtual_adversarial_loss
from kexue_jax.nn.rows import InputClassifier
from kexue_jax.tasks.classification import Classification
from kexue_jax.tasks.semi_supervised import SemiSupervised


def model(classes, *, rngs):
    return InputClassifier(classes, columns=64, hidden=(8,), rngs=rngs)


def test_batches_hold_few_labels_and_others_of_the_same_pool():
    data = partly_labelled_digits(labels=5, batch=5, unlabelled_batch=30, seed=3)
    batch = data.source(7)
    assert batch["inputs"].shape == (5, 64)
    assert batch["unlabelled"].shape == (30, 64)
    again = partly_labelled_digits(labels=5, batch=5, unlabelled_batch=30, seed=3)
    jax.tree.map(np.testing.assert_array_equal, batch, again.source(7))
    held = {row.tobytes() for row in data.held_out[0]["inputs"]}
    pool = {
        row.tobytes() for step in range(30) for row in data.source(step)["unlabelled"]
    }
    assert len(pool) > 890  # a few digits are the same twice
    assert len(held & pool) < 5
    with pytest.raises(ValueError, match="unlabelled_batch must be from 1 to 900"):
        partly_labelled_digits(unlabelled_batch=0)


def test_the_loss_is_cross_entropy_and_the_weighed_consistency():
    data = partly_labelled_digits(labels=5, batch=5, unlabelled_batch=30)
    consistency = functools.partial(virtual_adversarial_loss, radius=0.5)
    task = SemiSupervised(data=data, model=model, consistency=consistency, weight=2.0)
    plain = Classification(data=data, model=model)
    params, extras = task.init(jax.random.key(0))
    batch, rng = data.source(0), jax.random.key(1)

    def both(params):
        return task.loss(params, extras, batch, rng), plain.loss(
            params, extras, batch, rng
        )

    (value, (_, scores)), (alone, _) = jax.jit(both)(params)
    assert scores["consistency"] > 0
    want = float(alone) + 2.0 * float(scores["consistency"])
    assert float(value) == pytest.approx(want, rel=1e-6)
    evaluated, (_, names) = task.loss(params, extras, batch, None)
    assert float(evaluated) == pytest.approx(float(alone), rel=1e-6)
    assert "consistency" not in names
    with pytest.raises(ValueError, match="weight must not be negative, got -1"):
        SemiSupervised(data=data, model=model, weight=-1)
