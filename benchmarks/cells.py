"""One measurement, in a process of its own: times, memory and a figure of its error.

    python -m benchmarks.cells package.module:make '{"length": 512}'

`make(**arguments)` gives a `Cell`, compiled and with its inputs in place. What it needs
beyond them is the highest resident memory while it runs, less what stood before. A cell
that takes too long, or more memory than there is, says so instead of a number.
"""

import json
import os
import pkgutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LEAST_RUNS, MOST_RUNS, SECONDS = 3, 50, 3.0  # of one cell, after one that is not timed


class Cell(NamedTuple):
    """`run` does the work and waits for it; `check` gives a figure of its result."""

    run: Callable[[], Any]
    check: Callable[[Any], float]


def _memory(field: str) -> int:
    """Returns bytes of this process: ``VmRSS`` now or ``VmHWM`` at its highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"the system does not tell {field}")


def measure(cell: Cell) -> dict[str, float]:
    """Returns seconds, bytes and the check of a cell, measured in this process."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest starts anew
    start = time.perf_counter()
    result = cell.run()
    first = time.perf_counter() - start
    times = []
    while len(times) < MOST_RUNS and (len(times) < LEAST_RUNS or sum(times) < SECONDS):
        start = time.perf_counter()
        cell.run()
        times.append(time.perf_counter() - start)
        if first > 10 * SECONDS:  # one more is enough
            break
    peak = _memory("VmHWM") - before
    return {
        "seconds": sorted(times)[len(times) // 2],
        "least": min(times),
        "most": max(times),
        "runs": len(times),
        "first": first,
        "bytes": max(peak, 0),
        "check": cell.check(result),
    }


def measured(
    make: str,
    arguments: dict[str, Any],
    *,
    limit: float = 300.0,
    cores: tuple[int, ...] | None = None,
) -> dict[str, Any]:
    """Returns what `measure` finds in a process of its own, or ``{"failed": why}``.

    Args:
      make: ``package.module:function``.
      arguments: its arguments, plain data.
      limit: seconds after which it is given up.
      cores: those that it may use; default all.
    """
    command = [sys.executable, "-m", "benchmarks.cells", make, json.dumps(arguments)]
    env = os.environ | {"JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", "cpu")}

    def pin() -> None:
        if cores is not None:
            os.sched_setaffinity(0, cores)

    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            preexec_fn=pin,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {limit:.0f} s"}
    if done.returncode < 0:
        return {"failed": f"killed by signal {-done.returncode}"}
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": lines[-1][:200] if lines else f"exit {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def main(argv: list[str]) -> int:
    """Measures what the arguments name and prints it as JSON."""
    name, arguments = argv
    print(json.dumps(measure(pkgutil.resolve_name(name)(**json.loads(arguments)))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
