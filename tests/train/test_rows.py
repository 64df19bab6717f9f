import json
import math

import pytest

from kexue_jax.train.rows import Rows, read_rows


def test_numbers_read_back_exactly_and_what_is_not_finite_is_null(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append({"step": 1, "a": 0.1 + 0.2, "b": math.nan, "c": math.inf, "d": 1e-300})
    rows.close()
    (row,) = read_rows(rows.path)
    assert row == {"step": 1, "a": 0.1 + 0.2, "b": None, "c": None, "d": 1e-300}
    assert rows.rows == [row]


def test_a_torn_row_is_no_row_and_a_cut_removes_it(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    assert [row["step"] for row in read_rows(path)] == [1, 2]
    rows = Rows(path)
    rows.cut(1)
    rows.append({"step": 2, "x": 3})
    rows.close()
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2, "x": 3}\n'


@pytest.mark.parametrize(
    "line", ["{}", "[]", '{"step": null}', '{"step": true}', '{"step": 1, "x": NaN}']
)
def test_a_line_that_is_no_row_ends_the_rows(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    assert read_rows(path) == [{"step": 1}]


def test_the_same_rows_are_the_same_bytes_after_a_cut(tmp_path):
    rows, again = Rows(tmp_path / "a"), Rows(tmp_path / "b")
    for step in range(5):
        rows.append({"step": step, "x": step / 7, "name": "是"})
    for step in (0, 1, 2):
        again.append({"step": step, "x": step / 7, "name": "是"})
    again.close()
    again = Rows(tmp_path / "b")
    again.cut(1)
    for step in (2, 3, 4):
        again.append({"step": step, "x": step / 7, "name": "是"})
    for file in (rows, again):
        file.sync()
        file.close()
    assert rows.path.read_bytes() == again.path.read_bytes()


def test_other_processes_keep_rows_and_write_none(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl", enabled=False)
    rows.append({"step": 1})
    rows.cut(0)
    assert rows.rows == []
    assert not rows.path.exists()


def test_a_reader_sees_a_row_as_soon_as_it_is_appended(tmp_path):
    rows = Rows(tmp_path / "rows.jsonl")
    rows.append({"step": 1})
    assert json.loads(rows.path.read_text()) == {"step": 1}
    rows.close()
