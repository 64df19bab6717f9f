import numpy as np
import pytest

from kexue_jax.data.listops import CLOSE, listops, read, worked_out


def test_expressions_are_worked_out_as_published():
    for text, value in {
        "7": 7,
        "[MIN 4 2 8 ]": 2,
        "[MED 1 4 ]": 2,
        "[MED 9 1 5 ]": 5,
        "[SM 7 8 ]": 5,
        "[MAX [SM 5 6 ] [MIN 9 [MED 8 3 7 ] ] 0 ]": 7,
    }.items():
        assert worked_out([*read(text), 0, 0]) == value
    for wrong in ("[MIN 4 2", "4 2", "4 ]", "[MIN ]", ""):
        with pytest.raises(ValueError, match="must be an expression"):
            worked_out(read(wrong))


def test_drawn_rows_keep_to_the_grammar():
    sizes = dict(depth=4, arguments=5, shortest=6, longest=30)
    data = listops(examples=300, batch=100, held_out=3, **sizes)
    rows = np.concatenate([b["inputs"] for b in data.held_out])[:100]
    labels = np.concatenate([b["label"] for b in data.held_out])
    lengths = (rows > 0).sum(axis=1)
    assert rows.shape == (100, 29)
    assert lengths.min() > 6
    assert lengths.max() < 30
    for row, label in zip(rows, labels, strict=False):
        assert worked_out(row) == label
        opened = np.cumsum((row > 10) & (row < CLOSE)) - np.cumsum(row == CLOSE)
        assert opened.max() <= 3
    again = listops(examples=300, batch=100, held_out=3, **sizes)
    assert again.fingerprint() == data.fingerprint()
    with pytest.raises(ValueError, match="depth and arguments"):
        listops(depth=1)
