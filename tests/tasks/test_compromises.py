import jax
import numpy as np
import pytest

from kexue_jax import optim
from kexue_jax.tasks.compromises import SHOWN, Compromises, valley_losses


def test_the_best_compromises_lie_on_the_segment_and_gradients_oppose_there():
    slopes = jax.jit(jax.jacrev(valley_losses))
    for place in (-5.0, 0.0, 5.0):
        first, second = np.asarray(slopes(np.array([place, -8.0], np.float32)))
        cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
        assert cosine == pytest.approx(-1.0, abs=2e-3)
    first, second = np.asarray(slopes(np.array([0.0, -5.0], np.float32)))
    assert first[1] > 0
    assert second[1] > 0  # farther down both are lower


def test_unit_gradients_come_to_a_compromise_from_every_start():
    task = Compromises(methods={"norm": optim.sum_unit_gradients()}, steps=20_000)
    found = task.measure(jax.random.key(10))
    assert found.scores["norm/arrived"] == 5
    assert found.scores["norm/arrived_scaled"] == 5
    assert found.scores["norm/moved"] < 1
    table, paths = found.exhibits
    assert table.rows[0][:2] == ["norm", 1.0]
    assert len(paths.series) == 6
    assert paths.series[1].x.shape == (SHOWN,)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 200, got 3"):
        Compromises(methods={}, steps=3)
