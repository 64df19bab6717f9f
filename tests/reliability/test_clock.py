"""A wall clock that jumps."""

import json
import re

import pytest

from kexue_jax.train.rows import read_rows
from tests.reliability import harness

DAY = 86_400.0


@pytest.mark.slow
@pytest.mark.reliability(21)
def test_a_clock_that_is_wrong_by_a_day_moves_no_step(clean, tmp_path, figure):
    """Killed twice; the clock is a day ahead, then a day behind, then right."""
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    name = "kexue_jax.train.checkpoint:Checkpoints._clear"
    for clock in (DAY, -DAY):
        process = harness.start(workdir, die=(name, 4), clock=clock, after=True)
        assert process.end() == -9
    newest = harness.steps(workdir)[-1]
    process = harness.start(workdir, marks=str(marks))
    assert process.end() == 0
    assert f"going on from the checkpoint of step {newest}" in process.text
    assert min(harness.examples_by_step(marks)) == newest
    assert harness.result(workdir) == harness.result(clean())
    assert harness.steps(workdir)[-2:] == harness.steps(clean())[-2:] == [180, 200]
    figure("resumes at the same step")


@pytest.mark.slow
@pytest.mark.reliability(21)
@pytest.mark.parametrize("clock", [DAY, -DAY])
def test_a_clock_that_jumps_in_a_run_makes_no_time_negative(
    clean, tmp_path, monkeypatch, clock
):
    workdir = tmp_path / "run"
    process = harness.start(workdir, "--progress", step_ms=5, clock=clock, jump=90)
    assert process.end() == 0
    times = read_rows(workdir / "timing.jsonl")
    seconds = [row["seconds"] for row in times]
    assert seconds == sorted(seconds)
    assert seconds[-1] < 1000
    assert all(0 < row.get("steps_per_second", 1) < 1e4 for row in times)
    shown = re.findall(r"([-\d.]+) steps/s  ETA (\S+)", process.text)
    assert shown
    assert not [pair for pair in shown if "-" in pair[0].strip("-") or "-1" in pair[1]]
    assert all(float(rate) > 0 for rate, _ in shown if rate != "-")
    assert harness.result(workdir) == harness.result(clean())


@pytest.mark.slow
@pytest.mark.reliability(21)
def test_the_rate_of_a_resumed_run_counts_only_its_own_steps(tmp_path):
    workdir = tmp_path / "run"
    name = "kexue_jax.train.loop:_Run._evaluate"
    process = harness.start(workdir, die=(name, 5))  # at step 100
    assert process.end() == -9
    process = harness.start(workdir, "--progress", step_ms=50)
    assert process.end() == 0
    (shown,) = re.findall(r"100%  200/200 .*?([\d.]+) steps/s", process.text)
    assert float(shown) < 30  # 20, and what was made ahead
    assert json.loads((workdir / "result.json").read_text())["step"] == 200
