import jax
import numpy as np
import pytest

from kexue_jax.data.labelled_texts import embedded_texts
from kexue_jax.tasks.text_neighbours import (
    TextNeighbours,
    histograms,
    nearest_histograms,
    voted,
)


def test_histograms_are_shares_of_words():
    found = histograms(np.array([[0, 0, 2, -1], [-1, -1, -1, -1]]), 3)
    np.testing.assert_allclose(found, [[2 / 3, 0, 1 / 3], [0, 0, 0]])


def test_neighbours_by_shared_words_are_those_of_absolute_differences():
    draws = np.random.default_rng(0)
    rows = draws.dirichlet(np.full(12, 0.2), 30).astype(np.float32)
    index, distance = nearest_histograms(rows[:4], rows[4:], 5)
    want = np.abs(rows[:4, None] - rows[None, 4:]).sum(axis=2)
    np.testing.assert_allclose(distance, np.sort(want, 1)[:, :5], atol=1e-5)
    assert (
        np.take_along_axis(want, index, 1)[:, -1] <= np.sort(want, 1)[:, 4] + 1e-5
    ).all()


def test_most_votes_win_and_the_nearest_of_equals():
    label = np.array([0, 1, 2, 1])
    assert voted(label, np.array([[2, 1, 3], [0, 1, 2], [1, 0, 0]]), 3).tolist() == [
        1,
        0,
        0,
    ]


def test_topics_are_found_again_and_few_problems_are_solved():
    task = TextNeighbours(texts=embedded_texts("drawn"), queries=20, k=3)
    _, extras = task.init(jax.random.key(0))
    scores = task.evaluate({}, extras)
    assert scores["wmd/error"] < 0.2
    assert scores["wrd/error"] < 0.2
    assert 0.0 < scores["wmd/solved"] < 1.0
    assert scores["most_frequent/error"] > 0.4
    assert len(task.exhibits({}, extras)) == 2


def test_numbers_that_leave_no_neighbours_are_refused():
    with pytest.raises(ValueError, match="leave k of the"):
        TextNeighbours(texts=embedded_texts("drawn"), queries=90)
