"""The report of a run: one page that a person reads, from the files of its directory.

`write_report` needs nothing but those files and the exhibits of the task, which are
plain data; it can be called again at any time. It writes ``report.html``, which holds
its pictures and asks the network for nothing, and the same figures one by one.
"""

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.exhibits import Bars, Curves, Exhibit, Images, Table, Text
from kexue_jax.marked_texts import MarkedTexts
from kexue_jax.train import coordinates, marking, page, plots

_MAX_CHARTS = 24  # of training scores, and as many of evaluation scores
_MAX_SAMPLES = 50
_LOW = "loss nll error perplexity ppl bits nats distance divergence kl mse mae rmse wer"
_HIGH = (
    "accuracy acc f1 precision recall bleu rouge auc mrr map correlation spearman "
    "pearson exact match score"
)


class Verdict(NamedTuple):
    """What became of the claim.

    `status` is "holds", "does not hold" or "not decided"; `parts` are the named
    statements of a claim that has several.
    """

    status: str
    detail: str
    parts: dict[str, bool]


class _Score(NamedTuple):
    """One name of scores.jsonl: steps ``[N]`` and values ``[N]``, nan where unknown."""

    name: str
    steps: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        return np.isfinite(self.values)


def write_report(
    workdir: str | os.PathLike[str],
    *,
    title: str,
    claim: str,
    source: str = "",
    command: str = "",
    verdict: Verdict | None = None,
    exhibits: Sequence[Exhibit | MarkedTexts | coordinates.Coordinates] = (),
    cost: Mapping[str, str | int | float] | None = None,
) -> Path:
    """Returns the path of the page it writes from the files in `workdir`.

    Read, where they exist: ``config.json``, ``environment.json``, ``scores.jsonl``,
    ``timing.jsonl``. Written: ``report.html``, ``plots/*.png``, ``samples/*.txt`` and
    ``tables/*.csv``, each whole or not at all. The same input gives the same bytes.
    Where scores.jsonl has a step twice, as after a restart, the later row counts; a
    last line cut off by a crash is left out.

    Args:
      workdir: the directory of a run.
      title: the heading of the page.
      claim: plain text; an empty line parts two paragraphs.
      source: where the claim is from; web addresses in it become links.
      command: what to type to have the same run.
      verdict: None where this run decides nothing.
      exhibits: what the task shows beside its scores.
      cost: more rows for the table of costs, such as ``{"devices": 8}``; a name that
        the report has itself ("steps", "wall time", "steps per second", "device")
        replaces its value.

    Raises:
      ValueError: `workdir` is no directory, a status that is none of the three, a line
        of a file that is not JSON, or an exhibit whose parts do not fit together.
      ImportError: there is something to draw and matplotlib is missing.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise ValueError(f"workdir must be the directory of a run: {str(workdir)!r}")
    if verdict is not None and verdict.status not in _BADGES:
        known = ", ".join(map(repr, _BADGES))
        raise ValueError(f"status of verdict must be {known}: {verdict.status!r}")
    scores = _scores(_lines(workdir / "scores.jsonl"))
    training = [score for score in scores if "/" not in score.name]
    evaluation = [score for score in scores if "/" in score.name]
    environment = _flat(_object(workdir / "environment.json"))
    config = _object(workdir / "config.json")
    costs = _costs(_lines(workdir / "timing.jsonl"), scores, environment)
    costs |= dict(cost or {})
    body = [
        f"<h1>{page.words(title)}</h1>",
        _claim(claim, source, verdict),
        _tiles(training, evaluation, costs),
        _section("Evaluation", _evaluation(workdir, evaluation)),
        _section("Training", _training(workdir, training)),
        *_exhibits(workdir, exhibits),
        _section("All scores", [_card(_summary(scores))] if scores else []),
        _section("Cost", [_card(page.pairs(costs))] if costs else []),
        _section(
            "Environment", [_card(page.pairs(environment))] if environment else []
        ),
        _section("Reproduce", _reproduce(command, config)),
        "<footer>Numbers are rounded to four digits; scores.jsonl has all of them."
        "</footer>",
    ]
    path = workdir / "report.html"
    _write(path, page.page(title, body).encode())
    return path


# ---------------------------------------------------------------- reading a run


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    text = path.read_text("utf-8")
    lines = text.split("\n")
    rows = []
    for i, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if i == len(lines) - 1:  # no line feed after it: a process died writing it
                break
            raise ValueError(f"line {i + 1} of {path} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {i + 1} of {path} must be an object: {line[:60]!r}")
        rows.append(row)
    return rows


def _object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else {"": value}


def _scores(rows: Sequence[Mapping[str, Any]]) -> list[_Score]:
    """Scores by name, in the order of first rows; what is no number is left out."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name == "step" or isinstance(value, str | list | dict):
                continue
            value = float("nan") if value is None else float(value)
            found.setdefault(name, {})[int(row.get("step", 0))] = value
    scores = []
    for name, values in found.items():
        steps = sorted(values)
        each = np.array([values[step] for step in steps], np.float64)
        scores.append(_Score(name, np.array(steps, np.int64), each))
    return scores


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            flat[prefix + name] = ", ".join(map(str, value))
        else:
            flat[prefix + name] = value
    return flat


def _costs(timing, scores, environment) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    steps = [int(score.steps[-1]) for score in scores]
    steps += [int(row["step"]) for row in timing if row.get("step") is not None]
    if steps:
        costs["steps"] = max(steps)
    wall, before = 0.0, 0.0
    for row in timing:
        seconds = row.get("seconds")
        if seconds is None or not np.isfinite(seconds):
            continue
        # Each process counts from its own start: a smaller number is another process.
        wall += seconds - before if seconds >= before else seconds
        before = seconds
    if timing:
        costs["wall time"] = page.duration(wall)
    rates = [
        row["steps_per_second"]
        for row in timing
        if row.get("phase", "train") == "train" and row.get("steps_per_second")
    ]
    rates = [rate for rate in rates if np.isfinite(rate)]
    if rates:
        low, middle, high = np.percentile(rates, [10, 50, 90])
        costs["steps per second"] = (
            f"{middle:.4g} (median; {low:.4g} to {high:.4g} between the tenths)"
        )
    for name in ("device", "devices", "device_kind", "backend", "platform"):
        found = [v for k, v in environment.items() if v and name in k.split(".")]
        if found:
            costs["device"] = ", ".join(map(str, found))
            break
    return costs


# ---------------------------------------------------------------- writing


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _file_name(number: int, title: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:48].strip("-")
    return f"{number:02d}-{words}" if words else f"{number:02d}"


def _drawn(workdir, name, png, text, caption="", kind="plot") -> str:
    _write(workdir / "plots" / f"{name}.png", png)
    return page.figure(png, text, caption, kind)


# ---------------------------------------------------------------- sections


def _section(heading: str, cards: Sequence[str], grid: bool = False) -> str:
    inside = "\n".join(cards)
    if not inside:
        return ""
    inside = f'<div class="grid">{inside}</div>' if grid else inside
    return f"<section><h2>{page.words(heading)}</h2>\n{inside}\n</section>"


def _card(inside: str) -> str:
    return f'<div class="card">{inside}</div>'


_BADGES = {
    "holds": ("good", "✓ The claim holds"),
    "does not hold": ("bad", "✗ The claim does not hold"),
    "not decided": ("", "? Not decided"),
}


def _claim(claim: str, source: str, verdict: Verdict | None) -> str:
    parts = [page.paragraphs(claim)]
    if source:
        parts.append(f'<p class="grey">Source: {page.linked(source)}</p>')
    if verdict is not None:
        kind, label = _BADGES[verdict.status]
        parts.append(f'<span class="badge {kind}">{label}</span>')
        parts.append(page.remark(verdict.detail))
        marks = {True: ("good", "✓", "true"), False: ("bad", "✗", "false")}
        items = []
        for name, value in verdict.parts.items():
            kind, mark, word = marks[bool(value)]
            items.append(
                f'<li class="{kind}"><b aria-label="{word}">{mark}</b>'
                f"{page.words(name)}</li>"
            )
        parts.append(f'<ul class="parts">{"".join(items)}</ul>' if items else "")
    inside = "".join(parts)
    return _card(inside) if inside else ""


def _tiles(training, evaluation, costs) -> str:
    shown = [score for score in evaluation if score.finite.any()][:4]
    shown += [score for score in training if score.finite.any()][: 5 - len(shown)]
    tiles = []
    for score in shown:
        at = np.flatnonzero(score.finite)[-1]
        tiles.append((score.name, page.number(float(score.values[at]))))
    for name in ("steps", "wall time", "steps per second"):
        if name in costs:
            tiles.append((name, page.number(costs[name]).split(" (")[0]))
    inside = "".join(
        f'<div class="tile"><div>{page.words(name)}</div>'
        f"<strong>{page.words(value)}</strong></div>"
        for name, value in tiles
    )
    return f'<div class="tiles">{inside}</div>' if inside else ""


def _has_curve(score: _Score) -> bool:
    """Whether it moves; what stays as it was says all it has to say in a table."""
    return np.unique(score.values[score.finite]).size >= 2


def _training(workdir: Path, training: Sequence[_Score]) -> list[str]:
    curved = [score for score in training if _has_curve(score)]
    cards = []
    for i, score in enumerate(curved[:_MAX_CHARTS], 1):
        window = plots.smoothed(score.values)[1]
        caption = f"{len(score.values)} rows"
        if window > 1:
            caption += f", faint; the strong line is a centred mean of {window} of them"
        missing = int(np.count_nonzero(~score.finite))
        caption += f"; {missing} not finite and not drawn." if missing else "."
        png = plots.training_figure(score.name, score.steps, score.values)
        name = f"train-{_file_name(i, score.name)}"
        cards.append(_drawn(workdir, name, png, f"{score.name} over steps", caption))
    return _with_rest(cards, curved)


def _evaluation(workdir: Path, evaluation: Sequence[_Score]) -> list[str]:
    charts: dict[str, list[_Score]] = {}
    for score in evaluation:
        charts.setdefault(score.name.rpartition("/")[2], []).append(score)
    curved = [name for name, group in charts.items() if any(map(_has_curve, group))]
    cards = []
    for i, name in enumerate(curved[:_MAX_CHARTS], 1):
        group = {score.name.rpartition("/")[0]: score for score in charts[name]}
        better = _better(name)
        best = {
            key: _best(score, better)
            for key, score in group.items()
            if better and _has_curve(score) and len(group) <= 6
        }
        series = {key: (score.steps, score.values) for key, score in group.items()}
        named = list(group)[:12]
        named += [f"{len(group) - 12} more"] if len(group) > 12 else []
        caption = f"Held out: {', '.join(named)}."
        if best:
            caption += f" A ring marks the {better}."
        missing = sum(int(np.count_nonzero(~score.finite)) for score in group.values())
        caption += f" {missing} not finite and not drawn." if missing else ""
        png = plots.evaluation_figure(name, series, best)
        path = f"eval-{_file_name(i, name)}"
        cards.append(_drawn(workdir, path, png, f"{name} over steps", caption))
    return _with_rest(cards, curved)


def _with_rest(cards: list[str], curved: Sequence[Any]) -> list[str]:
    if not cards:
        return []
    grid = f'<div class="grid">{"".join(cards)}</div>'
    left = len(curved) - len(cards)
    note = (
        f"{left} more have no diagram here; all are in the table." if left > 0 else ""
    )
    return [grid + page.remark(note)]


def _better(name: str) -> str:
    """Whether the lowest or the highest is best, as far as the name says so, or ''."""
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    low, high = words & set(_LOW.split()), words & set(_HIGH.split())
    if bool(low) == bool(high):
        return ""
    return "lowest" if low else "highest"


def _best(score: _Score, better: str) -> plots.Best:
    pick = np.nanargmin if better == "lowest" else np.nanargmax
    at = int(pick(np.where(score.finite, score.values, np.nan)))
    return plots.Best(float(score.steps[at]), float(score.values[at]))


def _summary(scores: Sequence[_Score]) -> str:
    rows, broken = [], any(not score.finite.all() for score in scores)
    for score in scores:
        row: list[Any] = [score.name, float(score.values[-1])]
        for better in ("lowest", "highest"):
            if score.finite.any():
                step, value = _best(score, better)
                row += [value, int(step)]
            else:
                row += [None, None]
        row += [len(score.values)]
        row += [int(np.count_nonzero(~score.finite))] if broken else []
        rows.append(row)
    columns = ["score", "last", "lowest", "at step", "highest", "at step", "rows"]
    return page.table(columns + (["not finite"] if broken else []), rows)


def _reproduce(command: str, config: Mapping[str, Any]) -> list[str]:
    cards = []
    if command:
        cards.append(_card(f'<pre class="box">{page.words(command)}</pre>'))
    if config:
        text = page.words(json.dumps(config, indent=2, ensure_ascii=False))
        cards.append(
            '<details class="card"><summary>The whole config</summary>'
            f'<pre class="box">{text}</pre></details>'
        )
    return cards


# ---------------------------------------------------------------- exhibits


def _exhibits(workdir: Path, exhibits: Sequence[Any]) -> list[str]:
    sections: dict[str, list[str]] = {"Samples": [], "Diagrams": [], "Tables": []}
    for i, exhibit in enumerate(exhibits, 1):
        name = _file_name(i, exhibit.title)
        if isinstance(exhibit, MarkedTexts):
            sections["Samples"].append(_marked(workdir, name, exhibit))
        elif isinstance(exhibit, Text):
            sections["Samples"].append(_text(workdir, name, exhibit))
        elif isinstance(exhibit, Table):
            sections["Tables"].append(_table(workdir, name, exhibit))
        else:
            sections["Diagrams"].append(_diagram(workdir, name, exhibit))
    return [
        _section(name, cards, grid=name == "Diagrams")
        for name, cards in sections.items()
    ]


def _diagram(workdir: Path, name: str, exhibit: Any) -> str:
    caption, kind = exhibit.note, "plot"
    if isinstance(exhibit, Curves):
        png = plots.curves_figure(exhibit)
    elif isinstance(exhibit, Bars):
        png = plots.bars_figure(exhibit)
    elif isinstance(exhibit, coordinates.Coordinates):
        png = coordinates.coordinates_figure(exhibit)
    elif isinstance(exhibit, Images):
        png, kind = plots.images_figure(exhibit), "picture"
    else:
        raise ValueError(f"exhibits must be of kexue_jax.exhibits: {type(exhibit)!r}")
    return _drawn(workdir, name, png, exhibit.title, caption, kind)


def _marked(workdir: Path, name: str, shown: MarkedTexts) -> str:
    plain = [marking.marked_words(text, marks) for text, marks in shown.texts]
    data = "\n\n".join([*plain, ""]).encode("utf-8", "backslashreplace")
    _write(workdir / "samples" / f"{name}.txt", data)
    items = "".join(
        f'<p class="marked">{marking.marked_html(text, marks)}</p>'
        for text, marks in shown.texts[:_MAX_SAMPLES]
    )
    legend = (
        '<p class="marked note"><mark class="right deep1">found</mark> '
        '<mark class="missed deep1">missed</mark> '
        '<mark class="wrong deep1">found, and not there</mark></p>'
    )
    heading = f"<h3>{page.words(shown.title)}</h3>"
    return _card(f"{heading}{legend}{items}{page.remark(shown.note)}")


def _text(workdir: Path, name: str, text: Text) -> str:
    # A passage may hold lone surrogates, which UTF-8 has no place for.
    plain = "\n\n".join(f"=== {label}\n{passage}" for label, passage in text.items)
    data = (plain + "\n").encode("utf-8", "backslashreplace")
    _write(workdir / "samples" / f"{name}.txt", data)
    items = "".join(
        f'<div class="sample"><div class="label">{page.words(label)}</div>'
        f'<pre class="box" tabindex="0">{page.words(passage)}</pre></div>'
        for label, passage in text.items[:_MAX_SAMPLES]
    )
    left = len(text.items) - _MAX_SAMPLES
    note = f"{left} more in samples/{name}.txt." if left > 0 else ""
    return _card(
        f"<h3>{page.words(text.title)}</h3>{items}{page.remark(text.note)}{page.remark(note)}"
    )


def _table(workdir: Path, name: str, table: Table) -> str:
    rows = []
    for i, row in enumerate(table.rows):
        if len(row) != len(table.columns):
            raise ValueError(
                f"row {i} of the table {table.title!r} must have "
                f"{len(table.columns)} cells, got {len(row)}"
            )
        rows.append([c.item() if isinstance(c, np.generic) else c for c in row])
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([table.columns, *rows])
    data = buffer.getvalue().encode("utf-8", "backslashreplace")
    _write(workdir / "tables" / f"{name}.csv", data)
    return _card(
        f"<h3>{page.words(table.title)}</h3>{page.table(table.columns, rows)}"
        f"{page.remark(table.note)}"
    )
