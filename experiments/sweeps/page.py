"""The page of a sweep, by the writer of every report: a report of many runs."""

import json
import shlex
import statistics
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from experiments import configs
from experiments.sweeps import results
from experiments.sweeps.definition import Sweep
from experiments.sweeps.results import Row
from kexue_jax.exhibits import Bars, Curves, Series, Table
from kexue_jax.train import report
from kexue_jax.train.checkpoint import write_atomically
from kexue_jax.train.coordinates import Coordinates
from kexue_jax.train.rows import read_rows

_MAX_CURVES = 8
_MAX_LEVELS = 8


def write_page(
    rows: Sequence[Row],
    sweep: Sweep,
    study: optuna.Study,
    workdir: Path,
    *,
    command: Sequence[str] = (),
) -> Path:
    """Writes ``report.html``, its diagrams as PNG and ``results.csv``.

    The scores of runs come from the storage; their curves from those directories of
    runs that are there. Returns the page's path.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    about = configs.describe(sweep.experiment)
    spent = sum(row.seconds for row in rows)
    written = report.write_report(
        workdir,
        title=f"{about['title']} Sweep {sweep.name}",
        claim=f"{results.summary(rows)}.\n\n{_winner(rows, sweep)}",
        source=about.get("source", ""),
        command=shlex.join(command),
        exhibits=exhibits_of(rows, sweep, study, workdir),
        cost={"trials": len(rows), "hours of runs": round(spent / 3600, 3)},
    )
    # last: who finds it whole finds the page, too
    write_atomically(workdir / "results.csv", results.as_csv(rows, sweep))
    return written


def exhibits_of(
    rows: Sequence[Row], sweep: Sweep, study: optuna.Study, workdir: Path
) -> list[Any]:
    """Returns what the page shows, each thing only where there is something to show."""
    ranked = results.best_first(rows, sweep)
    head, body = results.columns(ranked, sweep)
    shown: list[Any] = []
    for score, mode in sweep.objective.items():
        shown += _diagrams(rows, sweep, score, mode)
        shown += _curves(ranked, score, workdir)
    shown += _importance(study, sweep)
    shown.append(Table("All trials, best first", head, body))
    shown += _means(rows, sweep)
    shown += _failed(rows)
    text = json.dumps(sweep.data, indent=1)
    shown.append(Table("Definition", ["sweep"], [[text]]))
    return shown


def _winner(rows: Sequence[Row], sweep: Sweep) -> str:
    done = [row for row in results.best_first(rows, sweep) if row.state == "done"]
    if not done or not sweep.objective:
        return ""
    score = next(iter(sweep.objective))
    said = ", ".join(f"{path} = {value}" for path, value in done[0].choice.items())
    return f"The best {score} is {done[0].scores.get(score):.6g}, with {said}."


def _known(rows: Sequence[Row], score: str) -> list[Row]:
    return [
        row
        for row in rows
        if row.state == "done" and isinstance(row.scores.get(score), int | float)
    ]


def _varied(rows: Sequence[Row]) -> list[str]:
    """The paths whose values differ between rows."""
    paths = dict.fromkeys(path for row in rows for path in row.choice)
    return [p for p in paths if len({repr(row.choice.get(p)) for row in rows}) > 1]


def _is_numeric(rows: Sequence[Row], path: str) -> bool:
    values = [row.choice[path] for row in rows if path in row.choice]
    return all(type(value) in (int, float) for value in values)


def _is_wide(rows: Sequence[Row], path: str) -> bool:
    """Whether an axis is better drawn on a logarithmic scale."""
    if not _is_numeric(rows, path):
        return False
    values = [row.choice[path] for row in rows if path in row.choice]
    return min(values) > 0 and max(values) >= 20 * min(values)


def _diagrams(rows: Sequence[Row], sweep: Sweep, score: str, mode: str) -> list[Any]:
    known = _known(rows, score)
    if len(known) < 2:
        return []
    paths = _varied(known)
    shown: list[Any] = [
        Coordinates(
            f"{score} over all settings",
            [*paths, score],
            [
                [*[_plain(r.choice.get(p)) for p in paths], r.scores[score]]
                for r in known
            ],
            low_is_best=mode == "min",
            log=[path for path in paths if _is_wide(known, path)],
        )
    ]
    if "space" in sweep.data:
        shown.append(_history(known, score, mode))
    words = [
        path
        for path in paths
        if not _is_numeric(known, path)
        and len({repr(row.choice.get(path)) for row in known}) <= _MAX_LEVELS
    ]
    for path in paths:
        if path != "seed" and _is_numeric(known, path):
            shown.append(_along(known, path, words[:1], score))
    return shown


def _plain(value: Any) -> Any:
    ok = value is None or isinstance(value, bool | int | float | str)
    return value if ok else json.dumps(value)


def _history(known: Sequence[Row], score: str, mode: str) -> Curves:
    values = np.array([row.scores[score] for row in known], float)
    best = (np.minimum if mode == "min" else np.maximum).accumulate(values)
    at = np.array([row.slot for row in known])
    return Curves(
        f"{score} in the order of trials",
        [Series("best so far", at, best), Series("each", at, values)],
        x_label="trial",
        y_label=score,
    )


def _along(known: Sequence[Row], path: str, split: Sequence[str], score: str) -> Curves:
    """The score along one axis, a series for each level of another one."""
    groups: dict[str, list[Row]] = {}
    for row in known:
        if path in row.choice:
            level = ", ".join(f"{p} = {row.choice.get(p)}" for p in split)
            groups.setdefault(level, []).append(row)
    series = [
        Series(
            level,
            np.array([row.choice[path] for row in group], float),
            np.array([row.scores[score] for row in group], float),
        )
        for level, group in groups.items()
    ]
    return Curves(
        f"{score} along {path}",
        series,
        x_label=path,
        y_label=score,
        log_x=_is_wide(known, path),
        points=True,
    )


def _curves(ranked: Sequence[Row], score: str, workdir: Path) -> list[Any]:
    """The score over the steps of the best runs."""
    paths, series = _varied(ranked), []
    for row in ranked:
        found = read_rows(workdir / row.id / "scores.jsonl") if row.id else []
        points = [(x["step"], x[score]) for x in found if x.get(score) is not None]
        if len(points) > 2 and len(series) < _MAX_CURVES:
            name = ", ".join(
                f"{p.rpartition('.')[2]} {results.brief(row.choice[p])}"
                for p in paths
                if p in row.choice
            )
            steps, values = map(np.array, zip(*points, strict=True))
            series.append(Series(name or row.id, steps, values))
    if not series:
        return []
    title = f"{score} of the best {len(series)} while they were trained"
    return [Curves(title, series, x_label="step", y_label=score)]


def _importance(study: optuna.Study, sweep: Sweep) -> list[Any]:
    """How much of the differences each axis explains, by PED-ANOVA."""
    from optuna.importance import get_param_importances

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    paths = {name for trial in done for name in trial.params} - {"seed"}
    varied = [
        name
        for name in paths
        if len({repr(trial.params.get(name)) for trial in done}) > 1
    ]
    if len(done) < 8 or len(varied) < 2 or not sweep.objective:
        return []
    score, mode = next(iter(sweep.objective.items()))
    sign = 1.0 if mode == "min" else -1.0

    def target(trial: Any) -> float:
        return sign * trial.values[0]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that low values are taken for good
        found: Mapping[str, float] = get_param_importances(
            study, params=varied, target=target
        )
    if not any(found.values()):
        return []
    return [
        Bars(
            f"Importance for {score}",
            [score],
            list(found),
            np.array([list(found.values())]),
            y_label="share",
            note="PED-ANOVA: how far the best tenth of the trials stands out on an "
            "axis. It says nothing of axes that act only together.",
        )
    ]


def _means(rows: Sequence[Row], sweep: Sweep) -> list[Any]:
    """Mean and deviation over seeds of each setting."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        rest = {k: v for k, v in row.choice.items() if k != "seed"}
        groups.setdefault(json.dumps(rest), []).append(row)
    if not sweep.objective or all(len(group) < 2 for group in groups.values()):
        return []
    paths = [path for path in _varied(rows) if path != "seed"]
    head = [*paths, "seeds"]
    for score in sweep.objective:
        head += [score, "deviation"]
    body = []
    for group in groups.values():
        line: list[Any] = [_plain(group[0].choice.get(path)) for path in paths]
        line.append(len(group))
        for score in sweep.objective:
            values = [row.scores[score] for row in _known(group, score)]
            line.append(statistics.fmean(values) if values else None)
            line.append(statistics.stdev(values) if len(values) > 1 else None)
        body.append(line)
    return [Table("Means over seeds", head, body)]


def _failed(rows: Sequence[Row]) -> list[Any]:
    lines = [
        [row.slot, row.state, row.tries, json.dumps(dict(row.choice)), row.why]
        for row in rows
        if row.state in ("failed", "pruned")
    ]
    if not lines:
        return []
    head = ["slot", "state", "tries", "overrides", "why"]
    return [Table("What failed or was pruned", head, lines)]
