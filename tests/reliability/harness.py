"""Starts runs, stops them in every way there is, and compares what they leave."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

from experiments import configs, runner
from experiments.objects import make_objects
from kexue_jax.train.checkpoint import Checkpoints, read_arrays, read_manifest
from kexue_jax.train.compiled import abstract_state
from kexue_jax.train.rows import read_rows
from tests.reliability.tiny import Examples

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "tests/reliability/config.py"
LIMIT = 240.0  # seconds after which a process that should have ended is killed


_BIND_TO_MODES = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.argv[1], sys.argv[1:])
"""


class Process(NamedTuple):
    """A run in a process of its own; what it says goes to a file."""

    popen: subprocess.Popen
    output: Path

    @property
    def text(self) -> str:
        return self.output.read_text("utf-8", errors="replace")

    def end(self, seconds: float = LIMIT) -> int:
        """Waits for the exit code; a process that takes too long is killed."""
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise AssertionError(
                f"no exit within {seconds} s; the last it said:\n{self.text[-3000:]}"
            ) from None

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait_for(self, happened: Callable[[], Any], seconds: float = LIMIT) -> Any:
        """Waits until something has happened while the process runs."""
        until = time.monotonic() + seconds
        while True:
            found = happened()
            if found:
                return found
            if self.popen.poll() is not None:
                raise AssertionError(
                    f"ended with {self.popen.returncode}:\n{self.text}"
                )
            if time.monotonic() > until:
                self.popen.kill()
                raise AssertionError(f"nothing in {seconds} s:\n{self.text[-3000:]}")
            time.sleep(0.01)


def environment(mishaps: dict, devices: int) -> dict[str, str]:
    count = "--xla_force_host_platform_device_count"
    ours = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in ours if not flag.startswith(count)]
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "NPROC": "32",
        "XLA_FLAGS": " ".join([*flags, f"{count}={devices}"]),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
        "TINY": json.dumps(mishaps),
    }


def command(workdir: Path, *words: str, variant: str = "adam") -> list[str]:
    return [
        f"--config={CONFIG}:{variant}",
        f"--workdir={workdir}",
        "--noprogress",
        *words,
    ]


def start(
    workdir: Path,
    *words: str,
    variant: str = "adam",
    devices: int = 8,
    without_override: bool = False,
    **mishaps: Any,
) -> Process:
    """Starts ``python -m experiments.run`` in the background.

    Args:
      workdir: of the run.
      words: more of the command line.
      variant: of the config.
      devices: that the process has; the config uses one.
      without_override: even root may not write where the mode forbids it.
      mishaps: see `tiny.Mishaps`.
    """
    output = workdir.parent / f"{workdir.name}.{time.monotonic_ns()}.log"
    with open(output, "wb") as file:
        popen = subprocess.Popen(
            [
                *([sys.executable, "-c", _BIND_TO_MODES] if without_override else []),
                sys.executable,
                "-m",
                "experiments.run",
                *command(workdir, *words, variant=variant),
            ],
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(mishaps, devices),
        )
    return Process(popen, output)


def start_two(workdir: Path, *words: str, each=({}, {}), **mishaps) -> list[Process]:
    """Starts a run of two processes with one device each."""
    port = free_port()
    shared = [f"--coordinator=127.0.0.1:{port}", "--processes=2", *words]
    return [
        start(
            workdir,
            f"--process={i}",
            "--config.mesh.data=2",
            *shared,
            devices=1,
            **mishaps,
            **each[i],
        )
        for i in range(2)
    ]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def here(workdir: Path, *, variant: str = "adam", changes=(), **flags) -> Any:
    """Runs the tiny task in this process; returns its outcome and what it said.

    The report is left out, as it takes longer than the run.
    """
    experiment = configs.load_config(f"{CONFIG}:{variant}")
    configs.override(experiment.config, dict(changes))
    lines: list[str] = []
    with mock.patch.object(runner, "write_report"):
        outcome = runner.run(
            experiment, workdir, log=lines.append, progress=False, **flags
        )
    return outcome, "\n".join(lines)


def like() -> Any:
    """The state of the tiny task, without its numbers."""
    made = make_objects(configs.load_config(CONFIG))
    return abstract_state(made.task, made.tx, made.options.seed, made.layout)


def checkpoints(workdir: Path, log: Callable[[str], None]) -> Checkpoints:
    """The checkpoints of a run of the tiny task."""
    data = Examples().fingerprint()
    return Checkpoints(workdir / "checkpoints", data=data, log=log)


# What a run leaves


def steps(workdir: Path) -> list[int]:
    """The steps with a manifest."""
    found = (workdir / "checkpoints").glob("*/manifest.json")
    names = [path.parent.name for path in found]
    return sorted(int(name) for name in names if name.isdecimal())


def last(workdir: Path) -> Path:
    """The folder of the newest checkpoint."""
    return workdir / "checkpoints" / f"{steps(workdir)[-1]:08d}"


def arrays(folder: Path) -> dict[str, np.ndarray]:
    everything = ("params/", "extras/", "opt_state/", "counters/", "step")
    return read_arrays(folder, everything)


def digest(folder: Path, leave_out: tuple[str, ...] = ()) -> str:
    """A hash of every bit of a checkpoint's state."""
    found = hashlib.sha256()
    for name, x in sorted(arrays(folder).items()):
        if not name.startswith(leave_out or ("-",)):
            found.update(f"{name} {x.dtype} {x.shape}".encode() + x.tobytes())
    return found.hexdigest()


class Result(NamedTuple):
    """The state and the rows of a finished run, bit for bit."""

    steps: int
    digest: str
    scores: bytes


def result(workdir: Path) -> Result:
    folder = last(workdir)
    scores = (workdir / "scores.jsonl").read_bytes()
    return Result(int(folder.name), digest(folder), scores)


def check_rows(workdir: Path) -> None:
    """Every line is JSON, and steps only grow."""
    lines = (workdir / "scores.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line)["step"] for line in lines]
    assert found == sorted(set(found))


def logged(workdir: Path) -> list[dict]:
    return read_rows(workdir / "scores.jsonl")


def incidents(workdir: Path) -> list[dict]:
    return read_rows(workdir / "incidents.jsonl")


def marks(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    return [line.split() for line in path.read_text("utf-8").splitlines()]


def examples_by_step(path: Path) -> dict[int, set[tuple[str, ...]]]:
    """The indices that each step was ever made of."""
    found: dict[int, set] = {}
    for words in marks(path):
        if words[0] == "batch":
            found.setdefault(int(words[1]), set()).add(tuple(words[2:]))
    return found


def whole(folder: Path) -> bool:
    """Whether a checkpoint is committed and its hashes are right."""
    read_manifest(folder)
    return True


def kill(process: Process) -> None:
    """Ends a process as the kernel does."""
    process.signal(signal.SIGKILL)
    process.end()
