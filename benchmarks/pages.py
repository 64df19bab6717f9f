"""What pages of benchmarks share: bars, cells as text, the command and its files."""

import json
import math
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from absl import flags

from benchmarks import cells

GIB = 2**30
Found = dict[str, dict[str, Any]]


class Bar(NamedTuple):
    """A goal of the project, held against what was measured."""

    text: str
    found: float  # nan where a cell is missing
    least: bool  # whether `goal` is a floor
    goal: float

    @property
    def met(self) -> bool:
        """False where nothing was measured."""
        above, below = self.found >= self.goal, self.found <= self.goal
        return above if self.least else below


class Task(NamedTuple):
    """A cell to measure: its name, who makes it, with what, and how large it is.

    After `limit` seconds it is given up.
    """

    name: str
    make: str
    arguments: dict[str, Any]
    size: int
    limit: float = 180.0


def row(*entries: str) -> str:
    """Returns a row of a table."""
    return f"| {' | '.join(entries)} |"


def text(*sentences: str) -> str:
    """Returns a paragraph in lines."""
    return textwrap.fill(" ".join(" ".join(sentences).split()), 88)


def shown(entry: dict[str, Any] | None) -> str:
    """Returns time, memory and error of a cell, or why there is none."""
    if entry is None:
        return ""
    if "failed" in entry:
        return entry["failed"]
    seconds, size = entry["median"], entry["bytes"] / GIB
    time = f"{seconds:.2f} s" if seconds >= 1.0 else f"{1e3 * seconds:.1f} ms"
    return f"{time}, {size:.2f} GiB, {entry['error']:.0e}"


def bar_rows(bars: Sequence[Bar]) -> list[str]:
    """Returns the table of goals."""
    lines = [row("goal", "bar", "found", "met"), row(*4 * ["---"])]
    for bar in bars:
        sign = ">=" if bar.least else "<="
        met = "yes" if bar.met else "not measured" if math.isnan(bar.found) else "no"
        lines.append(row(bar.text, f"{sign} {bar.goal:.3g}", f"{bar.found:.3g}", met))
    return lines


def about_the_run(
    found: Found, about: dict[str, Any], packages: Sequence[str]
) -> dict[str, str]:
    """Returns the days, versions and clock that an introduction names."""
    clock = "Pinned to one core, times are seconds of that core."
    return {
        "days": " and ".join(sorted({entry["day"] for entry in found.values()})),
        "versions": ", ".join(f"{name} {about[name]}" for name in packages),
        "clock": clock if about["cores"] == 1 else "",
    }


def main(
    name: str,
    argv: Sequence[str],
    *,
    tasks: Callable[[], Iterator[Task]],
    page: Callable[[Found, dict[str, Any]], str],
    packages: Sequence[str],
    quick: int,
) -> None:
    """Measures, prints every cell and, if asked, writes the page.

    Args:
      name: of the page in ``docs/benchmarks``.
      argv: ``--write``, ``--only=REGEX``, ``--quick``, ``--cores=1``.
      tasks: all cells.
      page: from what was found and the environment to the page.
      packages: those whose versions count.
      quick: the greatest size that ``--quick`` measures.
    """
    values = flags.FlagValues()
    flags.DEFINE_bool("write", False, "Write docs/benchmarks.", flag_values=values)
    flags.DEFINE_string("only", "", "Which cells: a regex.", flag_values=values)
    flags.DEFINE_bool("quick", False, "Small sizes only.", flag_values=values)
    flags.DEFINE_integer("cores", None, "Pin to so many.", flag_values=values)
    values([name, *argv])
    result = cells.ROOT / "docs" / "benchmarks" / f"{name}.json"
    found: Found = {}
    if values.write and values.only and result.exists():
        found = json.loads(result.read_text("utf-8"))["results"]
    for task in tasks():
        if not re.search(values.only, task.name) or (
            values.quick and task.size > quick
        ):
            continue
        day = {"day": time.strftime("%Y-%m-%d")}
        measured = cells.measured(
            task.make, task.arguments, limit=task.limit, cores=values.cores
        )
        found[task.name] = measured | day
        print(task.name, json.dumps(found[task.name]), flush=True)
    about = cells.environment(packages, values.cores)
    if values.write:
        whole = {"environment": about, "results": found}
        result.write_text(json.dumps(whole, indent=1) + "\n", "utf-8")
        result.with_suffix(".md").write_text(page(found, about), "utf-8")
    else:
        print(page(found, about))
