"""Ways that are compared in one process: they take turns, round by round.

What else the machine does then meets all of them, and a ratio is the median of the
ratios of the rounds.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks import cells


def highest(run: Callable[[], Any]) -> tuple[Any, int]:
    """As `cells.highest`, after what stands free has gone back to the system."""
    ctypes.CDLL(None).malloc_trim(0)
    return cells.highest(run)


def in_turns(
    runs: Mapping[str, Callable[[], Any]], rounds: int, *, seconds: float = 0.0
) -> dict[str, list[float]]:
    """Seconds of each in each round; the first round is not told.

    Args:
      runs: what is run, by name.
      rounds: that are told.
      seconds: a turn goes on so long and tells the mean of its runs, after one that it
        does not tell, in which threads of the turn before come to rest. 0: a turn is
        one run.
    """
    now = cells.clock()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for at in range(rounds + 1):
        for name in sorted(runs, reverse=at % 2 == 0):
            if seconds:
                runs[name]()
            start, count = now(), 0
            while not count or now() - start < seconds:
                runs[name]()
                count += 1
            times[name].append((now() - start) / count)
    return {name: each[1:] for name, each in times.items()}


def told(
    times: Mapping[str, list[float]], first: str, bytes_: Mapping[str, int]
) -> dict[str, Any]:
    """What is kept of the rounds: medians, and ratios to the first way."""

    def median(x):
        return float(np.median(x))

    rows = {name: np.asarray(each) for name, each in times.items()}
    return {
        name: {
            "median": median(each),
            "least": float(each.min()),
            "most": float(each.max()),
            "runs": len(each),
            "bytes": bytes_.get(name, 0),
            "ratio": median(each / rows[first]),
        }
        for name, each in rows.items()
    }
