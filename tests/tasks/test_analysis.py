import jax
import pytest

from kexue_jax.exhibits import Table
from kexue_jax.tasks.analysis import Analysis, Measured


class Draw(Analysis):
    def __init__(self, size=3):
        self.size, self._calls, self.places = size, 0, (1, 2)

    def measure(self, rng):
        self._calls += 1
        mean = float(jax.random.normal(rng, (self.size,)).mean())
        return Measured({"draw/mean": mean}, [Table("Draw", ("mean",), [(mean,)])])


def test_scores_and_exhibits_come_of_one_measurement_for_a_key(keys):
    task = Draw()
    params, extras = task.init(next(keys))
    scores = task.evaluate(params, extras)
    (table,) = task.exhibits(params, extras)
    assert table.rows[0][0] == scores["draw/mean"]
    assert task._calls == 1
    other = task.evaluate(*task.init(next(keys)))
    assert task._calls == 2
    assert other != scores


def test_settings_are_told_and_what_is_private_is_not():
    assert Draw(5).fingerprint() == {"places": [1, 2], "size": 5}


def test_training_it_is_refused(keys):
    task = Draw()
    params, extras = task.init(next(keys))
    for call in (lambda: task.batch(0), lambda: task.loss(params, extras, {}, None)):
        with pytest.raises(NotImplementedError, match="set steps to 0"):
            call()
    with pytest.raises(NotImplementedError):
        Analysis().measure(next(keys))
