from functools import partial

import jax
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from kexue_jax.data.drawn import two_gaussians
from kexue_jax.nn.rows import InputClassifier
from kexue_jax.tasks.learning_rate_sharpness import LearningRateSharpness


def made(**options):
    return LearningRateSharpness(
        data=two_gaussians(examples=20, dimensions=3, held_out=50, batch=20),
        model=partial(InputClassifier, columns=3, hidden=(3,), activation=jax.nn.tanh),
        **options,
    )


def test_scores_are_of_the_whole_batch_and_its_hessian(keys):
    task = made(learning_rate=0.5, level=0.1, iterations=30)
    params, extras = jax.jit(task.init)(next(keys))
    flat, back = ravel_pytree(params)

    @jax.jit
    def exact(flat):
        loss = lambda x: task.loss(back(x), extras, task.batch(0), None)[0]  # noqa: E731
        return loss(flat), jax.grad(loss)(flat), jax.hessian(loss)(flat)

    loss, slope, curve = exact(flat)
    scores = task.evaluate(params, extras)
    np.testing.assert_allclose(scores["train/loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(scores["train/above"], loss - 0.1, rtol=1e-5)
    square = np.sum(np.square(slope))
    np.testing.assert_allclose(scores["train/gradient_square"], square, rtol=1e-4)
    top = np.linalg.eigvalsh(curve)[-1]
    np.testing.assert_allclose(scores["sharpest/curvature"], top, rtol=1e-4)
    assert scores["stable/curvature"] == 4.0
    assert "valid/accuracy" in scores


def test_nothing_is_above_a_level_that_is_reached(keys):
    task = made(learning_rate=0.5, level=100.0, iterations=2)
    assert task.evaluate(*jax.jit(task.init)(next(keys)))["train/above"] == 0.0
    with pytest.raises(ValueError, match="level must be positive"):
        made(learning_rate=0.0)
