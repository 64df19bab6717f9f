"""What a sweep has found: a table for people, the same as CSV, and a page."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from experiments.sweeps.definition import Sweep
from experiments.sweeps.slots import CHOICE, Slot


class Row(NamedTuple):
    """One slot, as the table shows it.

    Attributes:
      slot, state, id: see `slots.Slot`; the id names the directory of its run.
      choice: what was overridden, by path.
      scores: of its run; of a pruned one those of its last row.
      seconds: from the start of its last trial to its end.
      tries: trials of it that have begun.
      why: of a trial that was pruned or failed.
    """

    slot: int
    state: str
    id: str
    choice: Mapping[str, Any]
    scores: Mapping[str, Any]
    seconds: float
    tries: int
    why: str


def rows_of(slots: Mapping[int, Slot]) -> list[Row]:
    """Returns a row for each slot."""
    rows = []
    for slot in slots.values():
        attrs, trial = slot.trial.user_attrs, slot.trial
        why = attrs.get("why", "")
        if slot.state == "failed" and slot.ended:
            why = slot.ended[-1]["why"]
        took = trial.duration.total_seconds() if trial.duration else 0.0
        tries = len(slot.ended) + (slot.state in ("running", "done", "pruned"))
        rows.append(
            Row(
                slot.number,
                slot.state,
                attrs.get("id", ""),
                attrs.get(CHOICE, {}),
                attrs.get("scores", {}),
                took,
                tries,
                why,
            )
        )
    return rows


def best_first(rows: Sequence[Row], sweep: Sweep) -> list[Row]:
    """Returns rows with the best first: done ones by the first objective."""
    if not sweep.objective:
        return list(rows)
    score, mode = next(iter(sweep.objective.items()))
    sign = 1.0 if mode == "min" else -1.0

    def key(row: Row) -> tuple:
        value: Any = row.scores.get(score)
        known = isinstance(value, int | float) and math.isfinite(value)
        done = row.state == "done" and known
        return (not done, sign * value if done else 0.0, row.slot)

    return sorted(rows, key=key)


def columns(rows: Sequence[Row], sweep: Sweep) -> tuple[list[str], list[list[Any]]]:
    """Returns the head and the body of the table; what varies comes first."""
    paths = list(dict.fromkeys(path for row in rows for path in row.choice))
    many = {p for p in paths if len({repr(row.choice.get(p)) for row in rows}) > 1}
    paths = [path for path in paths if path in many] or paths
    scores = list(sweep.objective)
    head = ["slot", "state", *paths, *scores, "seconds", "tries", "id", "why"]
    body = [
        [
            row.slot,
            row.state,
            *[row.choice.get(path, "") for path in paths],
            *[row.scores.get(score, "") for score in scores],
            round(row.seconds, 1),
            row.tries,
            row.id,
            row.why,
        ]
        for row in rows
    ]
    return head, body


def table(rows: Sequence[Row], sweep: Sweep, *, most: int = 40) -> str:
    """Returns the table in plain text, with at most so many rows."""
    head, body = columns(best_first(rows, sweep), sweep)
    short = [[path.rpartition(".")[2] for path in head]]
    if len(set(short[0])) < len(head):
        short = [head]
    text = [[brief(x) for x in line] for line in (*short, *body[:most])]
    widths = [max(len(line[i]) for line in text) for i in range(len(head))]
    lines = [
        "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip()
        for line in text
    ]
    if len(body) > most:
        lines.append(f"... and {len(body) - most} more, all in results.csv")
    return "\n".join(lines)


def brief(value: Any) -> str:
    """Returns a value in a few letters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).partition("\n")[0][:60]


def summary(rows: Sequence[Row]) -> str:
    """Returns how many slots are in which state."""
    states = [row.state for row in rows]
    order = ("done", "pruned", "failed", "running", "waiting", "lacking")
    counts = [f"{states.count(s)} {s}" for s in order if s in states]
    return f"{len(rows)} trials: " + ", ".join(counts)


def as_csv(rows: Sequence[Row], sweep: Sweep) -> str:
    """Returns all that is known of every slot, scores of runs included."""
    paths = list(dict.fromkeys(path for row in rows for path in row.choice))
    scores = sorted({score for row in rows for score in row.scores})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["slot", "state", "id", *paths, *scores, "seconds", "tries", "why"])
    for row in rows:
        writer.writerow(
            [
                row.slot,
                row.state,
                row.id,
                *[row.choice.get(path, "") for path in paths],
                *[row.scores.get(score, "") for score in scores],
                round(row.seconds, 1),
                row.tries,
                row.why,
            ]
        )
    return out.getvalue()
