import numpy as np
import pytest

from kexue_jax.data.comments import character_rows, comments, read_comments
from kexue_jax.data.reviews import Review


def test_a_line_is_a_text_a_tab_and_a_verdict():
    lines = ["a\tb\t0\n", "c\t1\r\n"]
    assert read_comments(lines) == [Review("a\tb", 0), Review("c", 1)]
    with pytest.raises(ValueError, match="line 2 must be a text, a tab and 0 or 1"):
        read_comments(["a\t0\n", "b\t2\n"])


def test_characters_have_numbers_or_are_unknown():
    rows = character_rows(["aba", "xyzw"], {"a": 2, "b": 3}, length=3)
    np.testing.assert_array_equal(rows, [[2, 3, 2], [1, 1, 1]])


def test_drawn_comments_are_rows_with_few_labels_and_what_has_none():
    options = dict(labels=7, length=20, batch=5, unlabelled_batch=11, seed=2)
    data = comments("drawn", vocabulary=12, **options)
    batch = data.source(3)
    assert batch["inputs"].shape == (5, 20)
    assert batch["unlabelled"].shape == (11, 20)
    assert batch["inputs"].max() < 12
    few = {row.tobytes() for step in range(10) for row in data.source(step)["inputs"]}
    assert len(few) == 7
    held = {
        row.tobytes()
        for rows in data.held_out
        for row, weight in zip(rows["inputs"], rows["weight"], strict=True)
        if weight
    }
    assert sum(int(rows["weight"].sum()) for rows in data.held_out) <= 100
    assert held
    whole = comments("drawn", length=20)
    assert "unlabelled" not in whole.source(0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (dict(labels=1000), "labels must be at most"),
        (dict(length=0), "length must be at least 1, got 0"),
        (dict(unlabelled_batch=-1), "unlabelled must be at least 1, got -1"),
        (dict(vocabulary=2), "vocabulary must be at least 3, got 2"),
    ],
)
def test_numbers_out_of_range_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        comments("drawn", **options)


def test_another_name_is_refused():
    with pytest.raises(ValueError, match="must be 'sentiment_comments' or 'drawn'"):
        comments("else")
