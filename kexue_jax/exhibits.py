"""What an experiment can show beside its scores: plain data that a report draws.

A task's ``exhibits(params, extras)`` returns a list of these. They hold numpy arrays,
numbers and text only, so that a run can be reported without the code that made it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Text(NamedTuple):
    """Passages such as samples of a language model.

    `items` are pairs of a label (a prompt, a temperature) and the passage.
    """

    title: str
    items: Sequence[tuple[str, str]]
    note: str = ""


class Table(NamedTuple):
    """Rows of numbers and words under named columns."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float | bool | None]]
    note: str = ""


class Series(NamedTuple):
    """One line of a diagram: `x` and `y` are ``[N]``; `low` and `high` bound a band."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


class Curves(NamedTuple):
    """Lines (or points, where `points` is true) over common axes."""

    title: str
    series: Sequence[Series]
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    points: bool = False
    note: str = ""


class Bars(NamedTuple):
    """Groups of bars: `values` is ``[groups, bars]``."""

    title: str
    groups: Sequence[str]
    bars: Sequence[str]
    values: np.ndarray
    y_label: str = ""
    note: str = ""


class Images(NamedTuple):
    """Pictures ``[N, H, W]`` or ``[N, H, W, 3]`` with values from 0 to 1, in a grid.

    `labels` are empty or one a picture; `columns` is the width of the grid.
    """

    title: str
    pictures: np.ndarray
    columns: int
    labels: Sequence[str] = ()
    note: str = ""


Exhibit = Text | Table | Curves | Bars | Images
