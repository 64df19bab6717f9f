"""A long run: does it leak, and how much of its time makes progress."""

import contextlib
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from kexue_jax.train.checkpoint import read_manifest
from kexue_jax.train.rows import read_rows
from tests.reliability import harness

STEPS = 2000
POOL = "ts_pool_worker"  # TensorStore's own threads, see below


class Look(NamedTuple):
    """What a process holds: resident bytes, open files, and threads by name."""

    memory: int
    files: int
    threads: Counter


def look(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    threads = Counter()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # it has ended
            threads[Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()] += 1
    return Look(pages * 4096, len(os.listdir(f"/proc/{pid}/fd")), threads)


def saving(workdir):
    """Whether a checkpoint is being written or removed."""
    folders = [p for p in (workdir / "checkpoints").iterdir() if p.is_dir()]
    return not all((folder / "manifest.json").exists() for folder in folders)


def quiet_looks(workdir, process):
    """Looks at a process between its saves, until it ends; each with its step.

    A look counts if the run has just written the first row after one with a save, and
    for 0.05 s no checkpoint was in the making: by then the save has ended and its
    threads have closed their files, and the next is far.
    """
    found, busy = [], time.monotonic()
    while process.popen.poll() is None:
        with contextlib.suppress(OSError):  # a folder, or the process, has gone
            step = newest_row(workdir)
            held = look(process.popen.pid)
            if saving(workdir):
                busy = time.monotonic()
            elif step % 20 == 5 and time.monotonic() - busy > 0.05:
                found.append((step, held))
        time.sleep(0.01)
    return found


@pytest.mark.slow
@pytest.mark.reliability(25)
def test_2000_steps_with_5_kills_neither_leak_nor_stand_still(clean, tmp_path, figure):
    """A save every 20 steps. The last process makes 1,000 steps and is measured.

    Goodput: the share of the wall-clock time, from the first start to the last end, in
    which steps were trained whose results are in the end part of the run.
    """
    workdir, draw = tmp_path / "run", random.Random(25)
    words = [f"--config.steps={STEPS}", "--config.eval_every=500"]
    begin = time.monotonic()
    for kill in range(5):
        process = harness.start(workdir, *words, step_ms=15)
        until = 150 + 170 * kill + draw.randrange(100)
        process.wait_for(lambda until=until: newest_row(workdir) >= until)
        harness.kill(process)
    process = harness.start(workdir, *words, step_ms=25)
    start = newest_row(workdir)
    looks = [
        held for step, held in quiet_looks(workdir, process) if step >= start + 200
    ]
    assert process.end() == 0, process.text
    wall = time.monotonic() - begin
    changes = {"steps": STEPS, "eval_every": 500}
    assert harness.result(workdir) == harness.result(clean(**changes))
    quarter = len(looks) // 4
    assert quarter >= 20
    early, late = looks[:quarter], looks[-quarter:]
    growth = min(x.memory for x in late) / max(x.memory for x in early) - 1
    assert growth < 0.05
    files = {x.files for x in early}, {x.files for x in late}
    assert max(files[1]) <= max(files[0])
    # TensorStore starts a thread when all of its pool are busy, which a loaded machine
    # shows at any time; jobs of one save bound it. A leak of one a save is 40 of them.
    jobs = 2 * len(read_manifest(harness.last(workdir))["leaves"])
    assert max(x.threads.pop(POOL, 0) for x in looks) <= min(jobs, 40)
    names = {name for x in looks for name in x.threads}
    most = [
        Counter({n: max(x.threads[n] for x in part) for n in names})
        for part in (early, late)
    ]
    assert not most[1] - most[0]
    folders = [p.name for p in (workdir / "checkpoints").iterdir() if p.is_dir()]
    assert len(folders) <= 3  # two to go on from, and the best
    assert not list(workdir.rglob("*tmp*"))
    assert not list(workdir.rglob("*.partial"))
    productive = trained(workdir)
    figure(
        f"goodput {productive / wall:.0%}, memory {growth:+.1%}, "
        f"open files {max(files[0])} early and {max(files[1])} late"
    )


def newest_row(workdir):
    rows = harness.logged(workdir)
    return rows[-1]["step"] if rows else 0


def trained(workdir):
    """Seconds of training of the steps that count: the last time each was made."""
    took = {}
    before = 0
    for row in read_rows(workdir / "timing.jsonl"):
        if "steps_per_second" in row:
            steps = row["step"] - (before if before < row["step"] else row["step"] - 5)
            took[row["step"]] = min(steps, 5) / row["steps_per_second"]
        before = row["step"]
    return sum(took.values())
