"""A long run: does it leak, and how much of its time makes progress."""

import contextlib
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from kexue_jax.train.rows import read_rows
from tests.reliability import harness

STEPS = 2000


def memory(pid):
    """Resident bytes of a process, its open files, and its threads by name."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    threads = Counter()
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):  # it has ended
            threads[Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()] += 1
    return pages * 4096, len(os.listdir(f"/proc/{pid}/fd")), threads


def least(samples, name):
    """The fewest threads of a name: what is left between two saves."""
    return min(threads[name] for *_, threads in samples)


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
    process = harness.start(workdir, *words, step_ms=15)
    start, samples = newest_row(workdir), []
    while process.popen.poll() is None:
        step = newest_row(workdir)
        if step >= start + 200 and step < STEPS - 20:
            samples.append((step, *memory(process.popen.pid)))
        time.sleep(0.05)
    assert process.end() == 0, process.text
    wall = time.monotonic() - begin
    changes = {"steps": STEPS, "eval_every": 500}
    assert harness.result(workdir) == harness.result(clean(**changes))
    # Long enough that each has moments in which nothing is being saved.
    quarter = max(1, len(samples) // 4)
    early, late = samples[:quarter], samples[-quarter:]
    growth = min(s[1] for s in late) / max(s[1] for s in early) - 1
    files = {s[2] for s in early}, {s[2] for s in late}
    assert samples[-1][0] - samples[0][0] > 500
    assert growth < 0.05
    assert min(files[1]) <= min(files[0])
    assert max(files[1]) <= max(files[0])
    total = [min(threads.total() for *_, threads in part) for part in (early, late)]
    names = {name for *_, threads in early + late for name in threads}
    more = {name: least(late, name) - least(early, name) for name in names}
    assert total[1] <= total[0], {name: n for name, n in more.items() if n > 0}
    folders = [p.name for p in (workdir / "checkpoints").iterdir() if p.is_dir()]
    assert len(folders) <= 3  # two to go on from, and the best
    assert not list(workdir.rglob("*tmp*"))
    assert not list(workdir.rglob("*.partial"))
    productive = trained(workdir)
    figure(
        f"goodput {productive / wall:.0%}, memory {growth:+.1%}, "
        f"open files {min(files[0])} to {max(files[1])}"
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
