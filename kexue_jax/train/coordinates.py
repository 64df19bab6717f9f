"""Parallel coordinates as PNG: many settings at once, and what came of each."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.train import plots

_MAX_WORDS = 12  # on one axis
_TICKS = 5


class Coordinates(NamedTuple):
    """Parallel axes: a line for each row, through its value on every axis.

    `rows` are ``[N]`` of one value an axis, a number, a word or None (the line leaves
    that axis out). Lines are coloured by the last axis, of numbers, whose small values
    are drawn over the others if `low_is_best`. `log` names logarithmic axes.
    """

    title: str
    axes: Sequence[str]
    rows: Sequence[Sequence[str | int | float | bool | None]]
    low_is_best: bool = True
    log: Sequence[str] = ()
    note: str = ""


def coordinates_figure(shown: Coordinates) -> bytes:
    """Draws a line for each row; the best ones lie on top and are the darkest.

    Raises:
      ValueError: a row that has not one value for each axis, or a last axis without
        numbers.
    """
    for i, row in enumerate(shown.rows):
        if len(row) != len(shown.axes):
            raise ValueError(
                f"row {i} of {shown.title!r} must have {len(shown.axes)} values, got "
                f"{len(row)}"
            )
    columns = list(zip(*shown.rows, strict=True)) or [()] * len(shown.axes)
    if any(not _is_number(x) and x is not None for x in columns[-1]):
        raise ValueError(f"the last axis of {shown.title!r} must hold numbers")
    places, ticks = [], []
    for name, column in zip(shown.axes, columns, strict=True):
        place, tick = _place(column, name in shown.log)
        places.append(place)
        ticks.append(tick)
    return _draw(shown, np.array(places), ticks)


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _place(column: Sequence[Any], log: bool) -> tuple[np.ndarray, list]:
    """Where each value stands, from 0 to 1 or nan, and the marks of the axis."""
    known = [value for value in column if value is not None]
    if known and all(map(_is_number, known)):
        scale = np.log if log and min(known) > 0 else np.asarray
        low, high = float(scale(min(known))), float(scale(max(known)))
        span = high - low or 1.0
        middle = 0.5 if high == low else 0.0
        place = np.array(
            [
                np.nan if x is None else (float(scale(x)) - low) / span + middle
                for x in column
            ]
        )
        at = sorted(set(known))
        if len(at) > _TICKS:
            at = np.linspace(low, high, _TICKS)
            at = list(np.exp(at) if scale is np.log else at)
        marks = [((float(scale(x)) - low) / span + middle, f"{x:.4g}") for x in at]
        return place, marks
    levels = list(dict.fromkeys(map(str, known)))
    at = {word: (i + 0.5) / len(levels) for i, word in enumerate(levels)}
    place = np.array([np.nan if x is None else at[str(x)] for x in column])
    marks = [(y, textwrap.shorten(word, 18)) for word, y in at.items()]
    return place, marks if len(marks) <= _MAX_WORDS else []


def _draw(shown: Coordinates, places: np.ndarray, ticks: Sequence[list]) -> bytes:
    from matplotlib import colormaps

    fig, ax = plots.figure(shown.title, height=3.4, grid="x")
    fig.set_figwidth(max(5.2, 1.4 * len(shown.axes) + 1.0))
    score = places[-1]
    good = 1.0 - score if shown.low_is_best else score
    order = np.argsort(np.where(np.isfinite(good), good, -1.0))
    colours = colormaps["viridis_r"]
    x = np.arange(len(shown.axes))
    for i in order:
        y, worth = places[:, i], good[i]
        seen = np.isfinite(y)
        if not np.isfinite(worth) or seen.sum() < 2:
            continue
        ax.plot(x[seen], y[seen], color=colours(worth), alpha=0.35 + 0.6 * worth)
    for at, marks in zip(x, ticks, strict=True):
        for y, word in marks:
            ax.text(
                at + 0.03,
                y,
                plots.drawable(word),
                fontsize=8,
                va="center",
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
            ).get_bbox_patch().set_alpha(0.75)
    ax.set_xticks(x, headings(shown.axes))
    ax.set_yticks([])
    ax.set_ylim(-0.06, 1.06)
    ax.spines["left"].set_visible(False)
    return plots.png(fig)


def headings(paths: Sequence[str]) -> list[str]:
    """Returns the ends of dotted paths, as long as tells them apart, over lines.

    >>> headings(["a.first.rate", "b.first.rate", "seed", "valid/loss"])
    ['a.\\nfirst.\\nrate', 'b.\\nfirst.\\nrate', 'seed', 'valid/loss']
    """
    parts = [[path] if "/" in path else path.split(".") for path in paths]
    found = []
    for own in parts:
        count = 2
        while count < len(own) and sum(own[-count:] == p[-count:] for p in parts) > 1:
            count += 1
        found.append(".\n".join(map(plots.drawable, own[-count:])))
    return found
