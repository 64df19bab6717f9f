"""Diagrams of a report as PNG: data in, bytes out, with no state in between.

Everything goes through `matplotlib.figure.Figure`, so that nothing here reads or sets a
backend, and every property that shows is given by hand. The same data give the same
bytes under the same matplotlib.
"""

import io
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.exhibits import Bars, Curves, Images, Series

# Okabe and Ito, told apart with any colour vision; a grey for their pale yellow.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
    "#8a8f98",
)
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D")
_INK, _GREY, _GRID = "#1f2328", "#57606a", "#e4e7eb"
_MAX_PICTURES = 400
_MAX_NAMES = 24  # in a legend


class Best(NamedTuple):
    """The row that a diagram marks: a place and whether low or high is meant."""

    step: float
    value: float


def smoothed(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Returns a centred mean of finite values, and how many rows it spans.

    The window is odd, a twentieth of the rows and at most 201; nothing is delayed. It
    shrinks to a quarter at both ends, where a loss falls fast or only one side is
    there. Places whose window holds no finite value are nan. Values that hardly leave
    their mean, such as a learning rate, are returned as they are, with a window of 1.

    Args:
      values: ``[N]``, any of them may be nan or infinite.
    """
    values = np.asarray(values, np.float64)
    seen = np.isfinite(values)
    half = min(values.size // 40, 100)
    if not half or not seen.any():
        return values, 1
    ones = np.ones(2 * half + 1)
    # Windows are summed one by one: a running sum never recovers from a loss of 1e30.
    total = np.convolve(np.where(seen, values, 0.0), ones, "same")
    count = np.convolve(seen.astype(np.float64), ones, "same")
    last = values.size - 1
    for i in range(half):
        reach = max(i, half // 4)
        for at in (i, last - i):
            window = slice(max(0, at - reach), at + reach + 1)
            total[at] = values[window][seen[window]].sum()
            count[at] = seen[window].sum()
    mean = total / np.maximum(count, 1.0)
    mean = np.where(count > 0, mean, np.nan)
    noise = np.median(np.abs(values - mean)[seen])
    if noise <= 2e-3 * np.ptp(np.percentile(values[seen], [2, 98])):
        return values, 1
    return mean, 2 * half + 1


def training_figure(name: str, steps: np.ndarray, values: np.ndarray) -> bytes:
    """Draws one training score: the rows faint, their centred mean strong."""
    values = _finite(values)
    mean, window = smoothed(values)
    fig, ax = figure(name)
    if window > 1:
        ax.plot(steps, values, color=PALETTE[0], alpha=0.25, linewidth=1)
    ax.plot(steps, mean, color=PALETTE[0], linewidth=2)
    _step_axis(ax)
    _scale_y(ax, [values])
    return png(fig)


def evaluation_figure(
    name: str,
    series: Mapping[str, tuple[np.ndarray, np.ndarray]],
    best: Mapping[str, Best],
) -> bytes:
    """Draws one evaluation score of several held-out groups over steps.

    Args:
      name: the score, ``bits_per_byte``.
      series: group to steps ``[N]`` and values ``[N]``.
      best: group to the row that gets a ring and its value.
    """
    fig, ax = figure(name)
    drawn = [_finite(values) for _, values in series.values()]
    for i, (group, (steps, _)) in enumerate(series.items()):
        look = _look(i)
        ax.plot(
            steps,
            drawn[i],
            color=look["color"],
            linestyle=look["linestyle"],
            marker=look["marker"],
            markersize=4.5 if len(steps) <= 60 else 0,
            linewidth=1.8,
        )
        if group in best:
            step, value = best[group]
            ax.plot(
                [step],
                [value],
                marker="o",
                markersize=11,
                markerfacecolor="none",
                markeredgecolor=look["color"],
                markeredgewidth=1.6,
            )
            if len(series) <= 2:
                below = len(best) == 2 and value == min(b.value for b in best.values())
                _note(ax, step, value, _short(value), -16 if below else 10)
    ax.margins(y=0.13)
    _step_axis(ax)
    _scale_y(ax, drawn)
    if len(series) > 1:
        _legend(fig, ax, list(series), range(len(series)))
    return png(fig)


def curves_figure(curves: Curves) -> bytes:
    """Draws lines or points over common axes.

    Raises:
      ValueError: a series whose arrays differ in length, or are not of rank one.
    """
    fig, ax = figure(curves.title)
    drawn = []
    for i, series in enumerate(curves.series):
        x, y, low, high = _checked(series)
        x = np.where(x > 0, x, np.nan) if curves.log_x else x
        y = np.where(y > 0, y, np.nan) if curves.log_y else y
        drawn.append(y[np.isfinite(x)])
        look = _look(i)
        alone = np.count_nonzero(np.isfinite(x) & np.isfinite(y)) == 1
        ax.plot(
            x,
            y,
            color=look["color"],
            linestyle="none" if curves.points else look["linestyle"],
            marker=look["marker"] if curves.points or alone else None,
            markersize=4,
            alpha=0.75 if curves.points else 1,
            linewidth=1.8,
        )
        if low is not None and high is not None:
            ax.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    seen = any(np.isfinite(y).any() for y in drawn)
    if seen:
        if curves.log_x:
            ax.set_xscale("log")
        if curves.log_y:
            ax.set_yscale("log")
    _plain_ticks(ax)
    ax.set_xlabel(drawable(curves.x_label))
    ax.set_ylabel(drawable(curves.y_label))
    if not seen:
        _empty(ax)
    if len(curves.series) > 1:
        names = [series.name for series in curves.series]
        _legend(fig, ax, names, range(len(names)), points=curves.points)
    return png(fig)


def bars_figure(bars: Bars) -> bytes:
    """Draws groups of bars, upright, or lying down where their names need the room.

    Raises:
      ValueError: `values` is not ``[groups, bars]``.
    """
    values = np.asarray(bars.values, np.float64)
    groups, kinds = len(bars.groups), len(bars.bars)
    if values.shape != (groups, kinds):
        raise ValueError(
            f"values of the bars {bars.title!r} must be [groups, bars] = "
            f"[{groups}, {kinds}], got {list(values.shape)}"
        )
    values = _finite(values)
    names = [drawable(name) for name in bars.groups]
    lying = groups > 8 or sum(map(len, names)) > 44
    height = min(max(3.1, 0.9 + 0.2 * groups * (kinds + 0.6)), 24) if lying else 3.1
    fig, ax = figure(bars.title, height=height, grid="x" if lying else "y")
    place, width = np.arange(groups), 0.8 / max(kinds, 1)
    for i in range(kinds):
        at = place + (i - (kinds - 1) / 2) * width
        draw = ax.barh if lying else ax.bar
        boxes = draw(at, np.nan_to_num(values[:, i]), 0.92 * width, color=_colour(i))
        if groups * kinds <= 12:
            labels = ["" if np.isnan(v) else _short(v) for v in values[:, i]]
            ax.bar_label(boxes, labels, padding=2, fontsize=8, color=_GREY)
    ax.margins(**{"x" if lying else "y": 0.12})
    (ax.set_yticks if lying else ax.set_xticks)(place, names)
    (ax.set_xlabel if lying else ax.set_ylabel)(drawable(bars.y_label))
    if lying:
        ax.invert_yaxis()
    if not np.isfinite(values).any():
        _empty(ax)
    if kinds > 1:
        _legend(fig, ax, bars.bars, range(kinds), blocks=True)
    return png(fig)


def images_figure(images: Images) -> bytes:
    """Lays pictures out in a grid, each with its label below.

    Raises:
      ValueError: `pictures` is not ``[N, H, W]`` or ``[N, H, W, 3]``, `columns` is not
        positive, or the labels are neither none nor one a picture.
    """
    pictures = np.asarray(images.pictures, np.float64)
    if pictures.ndim not in (3, 4) or (pictures.ndim == 4 and pictures.shape[3] != 3):
        raise ValueError(
            f"pictures of {images.title!r} must be [N, H, W] or [N, H, W, 3], "
            f"got {list(pictures.shape)}"
        )
    if images.columns < 1:
        raise ValueError(f"columns of {images.title!r} must be >= 1: {images.columns}")
    if len(images.labels) not in (0, len(pictures)):
        raise ValueError(
            f"labels of {images.title!r} must be none or {len(pictures)}, "
            f"got {len(images.labels)}"
        )
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=3)
    pictures = np.clip(np.nan_to_num(pictures[:_MAX_PICTURES]), 0.0, 1.0)
    number, height, width, _ = pictures.shape
    columns = max(1, min(images.columns, number))
    rows = max(1, -(-number // columns))
    longest = max((len(drawable(label)) for label in images.labels), default=0)
    gap = max(1, round(0.06 * max(height, width)))
    below = round(0.26 * height) if longest else 0
    tall, wide = height + below + gap, width + gap
    grid = np.ones((rows * tall - gap, columns * wide - gap, 3))
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * tall, (i % columns) * wide
        grid[top : top + height, left : left + width] = picture
    # As wide as the other diagrams or an inch a picture, and not taller than 24.
    inches = min(5.2, max(columns * 1.0, 1.6))
    scale = min(inches / max(grid.shape[1], 1), 24 / max(grid.shape[0], 1))
    fig, ax = _bare(grid.shape[1] * scale, max(grid.shape[0], 1) * scale)
    if number:
        exact = {"interpolation": "nearest", "interpolation_stage": "data"}
        ax.imshow(grid, vmin=0, vmax=1, aspect="auto", **exact)
    else:
        _empty(ax, "no pictures")
    points = min(9.0, 72 * wide * scale / (0.62 * max(longest, 1)), 52 * below * scale)
    for i, label in enumerate(images.labels[:number]):
        ax.text(
            (i % columns) * wide + width / 2 - 0.5,
            (i // columns) * tall + height + 0.4 * below - 0.5,
            drawable(label),
            fontsize=max(points, 2.0),
            color=_INK,
            ha="center",
            va="center",
        )
    return png(fig)


def drawable(text: str) -> str:
    r"""Returns `text` as matplotlib can set it: no formulas, only letters it has.

    The font that comes with matplotlib has no Chinese, and a missing letter is an empty
    box and a warning; such letters are written as ``\u4e2d``.
    """

    def letter(char: str) -> str:
        wide = unicodedata.east_asian_width(char) in "WF"
        if wide or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn"):
            return char.encode("unicode_escape").decode("ascii")
        return char

    return "".join(map(letter, str(text))).replace("$", r"\$")


def figure(title: str, *, height: float = 3.1, grid: str = "both") -> tuple[Any, Any]:
    """Returns a figure and its axes, in the look of a report."""
    fig, ax = _bare(5.2, height, layout="constrained")
    ax.set_axis_on()
    ax.set_title(
        textwrap.fill(drawable(title), 46),
        loc="left",
        fontsize=11,
        color=_INK,
        fontweight="bold",
        pad=9,
    )
    ax.grid(True, axis=grid, color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c4c9cf")
    ax.tick_params(colors=_GREY, labelsize=9.5, length=3)
    ax.xaxis.label.set(color=_GREY, fontsize=9.5)
    ax.yaxis.label.set(color=_GREY, fontsize=9.5)
    return fig, ax


def _bare(width: float, height: float, layout: Any = "none") -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "drawing a report needs matplotlib: pip install kexue-jax[train]"
        ) from error
    fig = Figure(figsize=(width, height), dpi=192, facecolor="white", layout=layout)
    FigureCanvasAgg(fig)
    ax = fig.add_subplot() if layout != "none" else fig.add_axes((0, 0, 1, 1))
    ax.set_axis_off()
    return fig, ax


def png(fig) -> bytes:
    """Returns a figure's picture."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _finite(values) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _checked(series: Series):
    x = _finite(series.x)
    rest = [series.y, series.low, series.high]
    rest = [None if part is None else _finite(part) for part in rest]
    shapes = [x.shape, *(part.shape for part in rest if part is not None)]
    if len(set(shapes)) > 1 or x.ndim != 1:
        raise ValueError(
            f"x, y, low and high of the series {series.name!r} must be [N], got "
            + ", ".join(str(list(shape)) for shape in shapes)
        )
    return x, *rest


def _look(i: int) -> dict[str, Any]:
    turn = i // len(PALETTE)
    return {
        "color": _colour(i),
        "linestyle": _DASHES[turn % len(_DASHES)],
        "marker": _MARKERS[i % len(_MARKERS)],
    }


def _colour(i: int) -> str:
    return PALETTE[i % len(PALETTE)]


def _step_axis(ax) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _scale_y(ax, drawn: Sequence[np.ndarray]) -> None:
    """Takes a logarithmic axis where most values are positive and far apart."""
    values = np.concatenate([np.ravel(v[np.isfinite(v)]) for v in drawn])
    if not values.size:
        _empty(ax)
    elif values.min() > 0 and np.divide(*np.percentile(values, [95, 5])) >= 50:
        ax.set_yscale("log")
        ax.set_ylabel("logarithmic", fontsize=9)
    _plain_ticks(ax)


def _plain_ticks(ax) -> None:
    """Numbers logarithmic axes as 2, 5, 10 where they span less than two decades."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() != "log":
            continue
        low, high = sorted(axis.get_view_interval())
        shown = (2, 3, 4, 5, 7) if high < 10 * low else (2, 5)

        def label(value, _, shown=shown):
            digit = round(value / 10 ** np.floor(np.log10(value)))
            return f"{value:.6g}" if digit in shown else ""

        axis.set_minor_formatter(NullFormatter())
        if low >= 1e-3 and high <= 1e6 and high < 100 * low:
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
            axis.set_minor_formatter(FuncFormatter(label))
            axis.set_tick_params(which="minor", labelsize=9, labelcolor=_GREY)


def _note(ax, x: float, y: float, text: str, up: float) -> None:
    ax.annotate(
        text,
        (x, y),
        xytext=(0, up),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
        color=_INK,
        bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": "none", "alpha": 0.8},
    )


def _empty(ax, text: str = "no finite values") -> None:
    ax.text(
        0.5,
        0.5,
        text,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=_GREY,
    )


def _legend(fig, ax, names, numbers, *, points=False, blocks=False) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = []
    for i in numbers:
        look = _look(i)
        if blocks:
            handles.append(Patch(color=look["color"]))
        else:
            line: Any = "none" if points else look["linestyle"]
            mark = look["marker"] if points else None
            handles.append(
                Line2D([], [], color=look["color"], linestyle=line, marker=mark, lw=2)
            )
    # A name that starts with an underscore would be left out of the legend.
    labels = [textwrap.shorten(drawable(name), 60) for name in names]
    labels = [f" {label}" if label.startswith("_") else label for label in labels]
    if len(labels) > _MAX_NAMES:
        left = len(labels) - _MAX_NAMES
        handles = [*handles[:_MAX_NAMES], Line2D([], [], linestyle="none")]
        labels = [*labels[:_MAX_NAMES], f"and {left} more"]
    longest = max(map(len, labels))
    fig.legend(
        handles,
        labels,
        loc="outside lower left",
        ncols=max(1, min(len(labels), 62 // (longest + 7))),
        frameon=False,
        fontsize=9.5,
        labelcolor=_INK,
        handlelength=1.6,
        columnspacing=1.4,
    )
    lines = -(-len(labels) // max(1, 62 // (longest + 7)))
    fig.set_figheight(fig.get_figheight() + 0.16 * max(0, lines - 2))


def _short(value: float) -> str:
    return f"{value:.4g}"
