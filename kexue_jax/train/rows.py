"""Files of rows: one JSON object a line, appended, never torn for a reader."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kexue_jax.train.checkpoint import write_atomically


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a file up to the first that is not whole; none if no file."""
    rows = []
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines[:-1]:  # what follows the last line feed was never finished
        try:
            row = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            break
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            break
        rows.append(row)
    return rows


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is no JSON")


class Rows:
    """A file of rows of increasing step, such as ``scores.jsonl``.

    Numbers are written so that they read back exactly; what is not finite is null.
    The same rows are the same bytes.
    """

    def __init__(self, path: Path, *, enabled: bool = True):
        """Opens a file, which need not exist; `enabled` is false on other processes."""
        self.path, self.enabled = Path(path), enabled
        self.rows = read_rows(self.path)
        self._file: Any = None

    def cut(self, last_step: int) -> None:
        """Drops the rows after a step, and whatever a killed process left torn."""
        self.close()
        self.rows = [row for row in self.rows if row["step"] <= last_step]
        if self.enabled and self.path.exists():
            write_atomically(self.path, "".join(map(_line, self.rows)))

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row, which every reader of the file sees whole or not at all."""
        clean = {name: _plain(value) for name, value in row.items()}
        self.rows.append(clean)
        if not self.enabled:
            return
        if self._file is None:
            self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self._file.write(_line(clean))
        self._file.flush()

    def sync(self) -> None:
        """Returns when the rows are on the disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; a later `append` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """A number as JSON has it."""
    if isinstance(value, bool | str | int | list | dict) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None
