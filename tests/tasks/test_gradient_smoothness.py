from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx

from kexue_jax.data.drawn import few_digits
from kexue_jax.tasks.gradient_smoothness import GradientSmoothness, fitted_line


class Mean(nnx.Module):
    """A linear map of the mean row."""

    def __init__(self, columns, classes, *, rngs):
        self.head = nnx.Linear(columns, classes, rngs=rngs)

    def __call__(self, inputs):
        return self.head(inputs.mean(axis=1))


def made(**options):
    task = partial(
        GradientSmoothness,
        data=few_digits(examples=40, batch=10),
        measured=few_digits(examples=40, batch=40),
        model=Mean,
        rows=8,
        steps=3,
    )
    return task(**options)


def test_the_way_holds_norms_before_steps_and_smoothness_along_them(keys):
    task = made(deltas=(1.0,))
    params, extras = jax.jit(task.init)(next(keys))
    loss = jax.jit(task.loss)
    whole = task.measured.source(0)
    slope_of_all = jax.jit(jax.grad(lambda p: task.loss(p, extras, whole, None)[0]))
    flat = lambda tree: np.concatenate([x.ravel() for x in jax.tree.leaves(tree)])  # noqa: E731
    want, before = [], None
    for step in range(5):  # more than the way can hold
        value, (extras, scores) = loss(params, extras, task.batch(step), next(keys))
        assert value == scores["loss"]
        slope = slope_of_all(params)
        now = flat(slope), flat(params)
        if before is not None:
            change = np.linalg.norm(now[0] - before[0])
            want.append(
                (np.linalg.norm(before[0]), change / np.linalg.norm(now[1] - before[1]))
            )
        before = now
        params = jax.tree.map(lambda p, g: p - 0.5 * g, params, slope)
    np.testing.assert_allclose(extras["way"], want[:3], rtol=1e-3)
    scores = task.evaluate(params, extras)
    logs = np.log(np.array(want[:3])).T
    np.testing.assert_allclose(
        scores["way/correlation"], np.corrcoef(logs)[0, 1], atol=1e-2
    )
    assert len(task.exhibits(params, extras)) == 2


def test_nothing_is_measured_to_evaluate_nor_scored_before_there_are_steps(keys):
    task = made()
    params, extras = jax.jit(task.init)(next(keys))
    _, (after, _) = jax.jit(lambda p, e, b: task.loss(p, e, b, None))(
        params, extras, task.batch(0)
    )
    assert after["count"] == 0
    assert task.evaluate(params, extras)["way/correlation"] == 0.0
    assert task.exhibits(params, extras) == []


def test_a_line_is_found_again_and_is_nowhere_negative():
    norm = np.geomspace(0.1, 10, 20)
    np.testing.assert_allclose(fitted_line(norm, 2 + 3 * norm), (2, 3), rtol=1e-9)
    assert fitted_line(norm, 3 * norm**2)[0] == 0.0
    assert fitted_line(norm, 1 / norm)[1] == 0.0


def test_settings_that_do_not_fit_are_refused():
    for options in (dict(steps=0), dict(rows=7)):
        with pytest.raises(ValueError, match="rows divide the 64 pixels"):
            made(**options)
