"""One measurement, in a process of its own: times, memory and the error of its result.

    python -m benchmarks.cells package.module:make '{"length": 512}'

`make(**arguments)` gives a `Cell`, compiled and with its inputs in place, or a dict of
what it measured itself. What a cell needs beyond its inputs is the highest resident
memory of the first call, less what stood before. A cell that takes too long, or more
memory than there is, says so instead of a number.
"""

import json
import os
import pkgutil
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS, LEAST_RUNS, MOST_RUNS = 1.0, 3, 20  # after the first call, which is not timed
LONG, VERY_LONG = 2.5, 8.0  # seconds; such cells are timed twice and once


class Cell(NamedTuple):
    """`run` does the work and waits for it; `check` gives the error of its result."""

    run: Callable[[], Any]
    check: Callable[[Any], float]


def _memory(field: str, where: str = "/proc/self/status") -> int:
    """Returns bytes, of this process ``VmRSS`` now or ``VmHWM`` at its highest."""
    for line in Path(where).read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"the system does not tell {field}")


def clock() -> Callable[[], float]:
    """What tells seconds: of this process if it has one core, else of the wall.

    Pinned to one core they are seconds of that core, which the other processes on the
    machine change little.
    """
    alone = len(os.sched_getaffinity(0)) == 1
    return time.process_time if alone else time.perf_counter


def highest(run: Callable[[], Any]) -> tuple[Any, int]:
    """Returns what `run` gives, and the bytes it takes beyond what stood before."""
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # the highest starts anew
    result = run()
    return result, max(_memory("VmHWM") - before, 0)


def measure(cell: Cell) -> dict[str, float]:
    """Returns seconds, bytes and the error of a cell, measured in this process."""
    now = clock()
    start = now()
    result, peak = highest(cell.run)
    first = now() - start
    least = 1 if first > VERY_LONG else 2 if first > LONG else LEAST_RUNS
    times: list[float] = []
    while len(times) < least or (sum(times) < SECONDS and len(times) < MOST_RUNS):
        result = None  # or two results would stand in memory
        start = now()
        result = cell.run()
        times.append(now() - start)
    return {
        "median": sorted(times)[len(times) // 2],
        "least": min(times),
        "most": max(times),
        "runs": len(times),
        "bytes": peak,
        "error": cell.check(result),
    }


def measured(
    make: str,
    arguments: dict[str, Any],
    *,
    limit: float = 180.0,
    cores: int | None = None,
) -> dict[str, Any]:
    """Returns what `measure` finds in a process of its own, or ``{"failed": why}``.

    With it is ``"longer"``, the seconds after which it had not ended, if that is why.

    Args:
      make: ``package.module:function``.
      arguments: its arguments, plain data.
      limit: seconds after which it is given up.
      cores: how many it may use; default all.
    """
    command = [sys.executable, "-m", "benchmarks.cells", make, json.dumps(arguments)]
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    free = int(0.8 * _memory("MemAvailable", "/proc/meminfo"))

    def narrow() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (free, free))
        if cores is not None:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            preexec_fn=narrow,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"over {limit:.0f} s", "longer": limit}
    if done.returncode:
        if "RESOURCE_EXHAUSTED" in done.stderr or "alloc" in done.stderr:
            return {"failed": "out of memory"}
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return {"failed": lines[-1][:200] if lines else f"exit {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def environment(packages: Sequence[str], cores: int | None) -> dict[str, Any]:
    """Returns what a time depends on: versions, machine, its load, commit, date."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(ROOT), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
        "machine": platform.platform(),
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)) if cores is None else cores,
        "load": round(os.getloadavg()[1], 1),  # of five minutes, ours included
        "commit": git("rev-parse", "HEAD"),
        "changed": bool(git("status", "--porcelain", "--untracked-files=no")),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def main(argv: list[str]) -> None:
    """Measures what the arguments name and prints it as JSON."""
    name, arguments = argv
    made = pkgutil.resolve_name(name)(**json.loads(arguments))
    print(json.dumps(made if isinstance(made, dict) else measure(made)))


if __name__ == "__main__":
    main(sys.argv[1:])
