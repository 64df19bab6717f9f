"""Tables of scores with their seeds, of claims that name which scores to show.

A config that sets ``SCORES``, names of scores such as ``test/f1``, has its table in
``docs/scores.md``: a row a variant, from ``docs/results`` alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LEVEL = 0.95
HEAD = f"""# Scores

Written by `python -m experiments.check`; no cell is typed. Each is the mean over
seeds, and half the width of its {100 * LEVEL:.0f} % interval by Student's t: where two
rows are nearer to each other than that, the table does not tell which is better. Scores
from 0 to 1 are multiplied by 100. Minutes are those of one run on one core, the machine
being as busy as it was.
"""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean of a score over seeds, and half the width of its interval.

    The width is nan for fewer than two seeds.

    >>> mean, half = interval([1.0, 2.0, 3.0])
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    from scipy.special import stdtrit

    found = np.asarray(values, float)
    if found.size < 2:
        return float(found.mean()), math.nan
    quantile = stdtrit(found.size - 1, 0.5 + LEVEL / 2)
    return float(found.mean()), float(quantile * found.std(ddof=1) / found.size**0.5)


def table(result: Mapping[str, Any], scores: Sequence[str]) -> list[str]:
    """Returns the lines of one claim's table.

    Args:
      result: what ``docs/results`` has of it.
      scores: names of the columns; a score that a variant lacks has an empty cell.
    """
    lines = [
        "| " + " | ".join(("variant", *scores, "seeds", "minutes")) + " |",
        "| --- " * (len(scores) + 3) + "|",
    ]
    for variant in dict.fromkeys(run["variant"] for run in result["runs"]):
        runs = [run for run in result["runs"] if run["variant"] == variant]
        cells = [f"`{variant}`"]
        for name in scores:
            found = [run["scores"].get(name) for run in runs]
            if any(value is None for value in found):
                cells.append("")
                continue
            mean, half = (100 * value for value in interval(found))
            cells.append(f"{mean:.1f}" + ("" if math.isnan(half) else f" ± {half:.1f}"))
        minutes = np.mean([run["seconds"] for run in runs]) / 60
        lines.append(f"| {' | '.join([*cells, str(len(runs)), f'{minutes:.1f}'])} |")
    return lines


def page(shown: Mapping[str, Sequence[str]], folder: Path) -> str:
    """Returns ``docs/scores.md``.

    Args:
      shown: names of configs, and of the scores of each.
      folder: ``docs/results``; what was not checked yet has no table.
    """
    parts = [HEAD]
    for name, scores in shown.items():
        path = folder / f"{name}.json"
        if path.is_file():
            result = json.loads(path.read_text("utf-8"))
            verdict = f"{result['title']} The claim **{result['verdict']}**."
            lines = [f"## `{name}`", "", verdict, "", *table(result, scores), ""]
            parts.append("\n".join(lines))
    return "\n".join(parts)
