"""kill -9: at random, at chosen lines, of one process and of one of two."""

import random
import re
import shutil
import time

import pytest

from kexue_jax.train.options import best_of
from tests.reliability import harness
from tests.reliability.events import points

LINES = [
    # a function, the call before or after which the process dies
    ("kexue_jax.train.rows:Rows.append", 1, True),
    ("kexue_jax.train.rows:Rows.append", 5, False),
    ("kexue_jax.train.rows:Rows.append", 8, True),
    ("kexue_jax.train.rows:Rows.sync", 3, False),
    ("kexue_jax.train.rows:Rows.cut", 1, True),
    ("kexue_jax.train.loop:_Run._evaluate", 2, False),
    ("kexue_jax.train.loop:_Run._evaluate", 2, True),
    ("kexue_jax.train.checkpoint:Checkpoints.save", 2, False),
    ("kexue_jax.train.checkpoint:Checkpoints._clear", 2, True),
    ("kexue_jax.train.checkpoint:_hashes", 2, False),
    ("kexue_jax.train.checkpoint:write_atomically", 3, False),
    ("kexue_jax.train.checkpoint:write_atomically", 3, True),
    ("kexue_jax.train.checkpoint:write_atomically", 4, True),
    ("kexue_jax.train.checkpoint:Checkpoints._remove", 1, False),
    ("shutil:rmtree", 1, False),
    ("shutil:rmtree", 2, True),
    ("os:replace", 4, False),
    ("experiments.runner:_conclude", 1, False),
]


def started(workdir):
    """When the lock was last taken, once it is."""
    lock = workdir / "LOCK"
    return lock.stat().st_mtime_ns if lock.exists() and lock.stat().st_size > 2 else 0


def kill_at_random(workdir, draw, kills, *words, **mishaps):
    """Kills a run `kills` times, 0 to 3 s after it began; returns how often it lived.

    A run that finishes is started anew, in a directory of its own.
    """
    done, finished = 0, []
    while done < kills:
        before = started(workdir)
        process = harness.start(workdir, *words, step_ms=12, **mishaps)
        until = draw.uniform(0, 3)
        process.popen.poll()
        while started(workdir) == before and process.popen.poll() is None:
            time.sleep(0.005)
        time.sleep(until)
        if process.popen.poll() is None:
            harness.kill(process)
            done += 1
        if process.popen.returncode == 0:
            finished.append(workdir)
            workdir = workdir.with_name(f"{workdir.name}+")
        else:
            assert process.popen.returncode == -9, process.text
    process = harness.start(workdir, *words, **mishaps)
    assert process.end() == 0, process.text
    return [*finished, workdir]


@pytest.mark.slow
@pytest.mark.reliability(1)
def test_no_moment_to_die_changes_a_bit_of_the_run(clean, tmp_path, figure):
    """30 kills at random, from the lock on, and one at each of the chosen lines."""
    good, draw = harness.result(clean()), random.Random(1)
    for workdir in kill_at_random(tmp_path / "run", draw, 30):
        assert harness.result(workdir) == good
        harness.check_rows(workdir)
    figure("30/30 kills at random survived")


@pytest.mark.slow
@pytest.mark.reliability(1)
def test_no_line_to_die_at_changes_a_bit_of_the_run(clean, tmp_path, figure):
    good, workdir = harness.result(clean()), tmp_path / "run"
    for number, (name, call, after) in enumerate(LINES):
        process = harness.start(workdir, die=(name, call), after=after)
        code = process.end()
        assert code == -9, (name, process.text)
        harness.check_rows(workdir) if (workdir / "scores.jsonl").exists() else None
        if number % 3 == 2 or name == "experiments.runner:_conclude":
            harness.here(workdir)
            assert harness.result(workdir) == good, LINES[: number + 1]
            shutil.rmtree(workdir)
    figure(f"{len(LINES)}/{len(LINES)} at chosen lines")


@pytest.mark.slow
@pytest.mark.reliability(2)
def test_no_moment_to_die_changes_a_bit_of_a_sharded_run(clean, tmp_path, figure):
    words = ("--config.mesh.data=1", "--config.mesh.fsdp=8")
    good = harness.result(clean(mesh__data=1, mesh__fsdp=8))
    draw = random.Random(2)
    for workdir in kill_at_random(tmp_path / "run", draw, 10, *words):
        assert harness.result(workdir) == good
        harness.check_rows(workdir)
    figure("10/10 kills survived")


@pytest.mark.slow
@pytest.mark.reliability(3)
@pytest.mark.parametrize("when", ["in a collective", "idle"])
def test_the_survivor_of_a_pair_names_the_dead_and_leaves(
    clean_pair, tmp_path, when, figure
):
    """Idle: it evaluates for minutes, so that no collective is under way."""
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    idle = {"eval_ms": 60_000} if when == "idle" else {"step_ms": 30}
    line = ["evaluate"] if when == "idle" else ["batch", "33"]
    each = ({"marks": str(marks)}, {})
    pair = harness.start_two(workdir, each=each, **idle)
    pair[0].wait_for(lambda: [w[: len(line)] for w in harness.marks(marks)].count(line))
    time.sleep(0.5)
    sent = time.monotonic()
    harness.kill(pair[1])
    code = pair[0].end(60)
    seconds = time.monotonic() - sent
    assert code not in (0, 75)
    assert re.search(r"stopped sending heartbeats\):\s*1\b", pair[0].text)
    assert seconds <= 15
    figure(f"{when}: {seconds:.1f} s")
    pair = harness.start_two(workdir)  # as a supervisor would
    assert [process.end() for process in pair] == [0, 0]
    assert harness.result(workdir) == harness.result(clean_pair)


def check_points(workdir):
    """Holds what TensorBoard shows to the rows."""
    rows, shown = harness.logged(workdir), points(workdir)
    for name in ("loss", "held/mse"):
        wanted = {row["step"]: row[name] for row in rows if name in row}
        assert shown[name] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.slow
@pytest.mark.reliability(23)
@pytest.mark.parametrize("after", [False, True])
def test_a_tracker_has_the_row_at_which_a_run_died(tmp_path, after):
    """Of step 0, which no checkpoint brings back, and of a later one."""
    workdir = tmp_path / "run"
    for call in (1, 9):  # every other one is of the timing
        process = harness.start(
            workdir, die=("kexue_jax.train.rows:Rows.append", call), after=after
        )
        assert process.end() == -9
    harness.here(workdir)
    check_points(workdir)


@pytest.mark.slow
@pytest.mark.reliability(23)
def test_rows_trackers_and_the_best_checkpoint_agree_after_kills(
    clean, tmp_path, figure
):
    """Also after a torn row, and in TensorBoard, whose later points a resume drops."""
    workdir, draw = tmp_path / "run", random.Random(3)
    for _ in range(4):
        before = started(workdir)
        process = harness.start(workdir, step_ms=25)
        process.wait_for(lambda before=before: started(workdir) != before)
        time.sleep(draw.uniform(1.5, 3))
        harness.kill(process)
        if (workdir / "scores.jsonl").exists():
            with open(workdir / "scores.jsonl", "ab") as file:
                file.write(b'{"step": 195, "lo')
    harness.here(workdir)
    harness.check_rows(workdir)
    assert harness.result(workdir) == harness.result(clean())
    check_points(workdir)
    best, _ = best_of(harness.logged(workdir), "held/mse", "min")
    assert best in harness.steps(workdir)
    assert harness.whole(harness.checkpoints(workdir, print).path(best))
    rows = len(harness.logged(workdir))
    figure(f"{rows} rows, TensorBoard equal, best = step {best}")
