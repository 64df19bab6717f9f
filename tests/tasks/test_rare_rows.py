from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.data.review_bigrams import review_bigrams
from kexue_jax.nn.bag import BagClassifier
from kexue_jax.tasks.rare_rows import RareRows


def made(counted=2):
    return RareRows(
        data=review_bigrams("drawn", vocabulary=50, length=12, batch=20),
        model=partial(BagClassifier, vocabulary=51, features=4),
        counted=counted,
    )


def test_rows_are_counted_and_measured(keys):
    task = made()
    params, extras = jax.jit(task.init)(next(keys))
    table = np.asarray(params["embedding"])
    scores = task.evaluate(params, extras)
    np.testing.assert_allclose(scores["table/largest"], np.abs(table).max())
    root = np.sqrt(np.mean(table**2))
    np.testing.assert_allclose(scores["table/mean_square_root"], root, rtol=1e-6)
    assert 0.0 <= scores["valid/accuracy"] <= 1.0
    count, size = task.sizes(params)
    seen = np.concatenate([task.batch(i)["inputs"].ravel() for i in (0, 1)])
    assert count.tolist() == [int(np.sum(seen == token)) for token in range(1, 51)]
    np.testing.assert_allclose(size[6], np.sqrt(np.mean(table[7] ** 2)), rtol=1e-6)
    first, *rest = task.exhibits(params, extras)
    assert "Size of a row" in first.title
    assert len(rest) == 3


def test_counting_nothing_is_refused():
    with pytest.raises(ValueError, match="counted must be at least 1, got 0"):
        made(counted=0)
