"""Signals that ask a run to leave, at whatever it is doing."""

import json
import random
import signal
import time

import pytest

from tests.reliability import harness

PHASES = {
    # what to wait for in the marks, how often, and what stretches that moment
    "train": ("batch 57", 1, {"step_ms": 20}),
    "evaluate": ("evaluate", 2, {"eval_ms": 1000}),
    "compile": ("trace", 1, {"trace_ms": 1500}),
    "save": ("save", 2, {"save_ms": 1000}),
}


def said(marks, line, times=1):
    def count():
        return sum(" ".join(words).startswith(line) for words in harness.marks(marks))

    return lambda: count() >= times


@pytest.mark.reliability(4)
@pytest.mark.parametrize("phase", PHASES)
def test_sigterm_saves_the_step_and_the_run_goes_on_bit_for_bit(
    clean, tmp_path, phase, figure
):
    line, times, slow = PHASES[phase]
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    words = ("--config.prefetch=4",)
    process = harness.start(workdir, *words, marks=str(marks), **slow)
    process.wait_for(said(marks, line, times))
    sent = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.end() == 75
    seconds = time.monotonic() - sent
    folder = harness.last(workdir)
    assert harness.whole(folder)
    assert f"stopped at step {int(folder.name)};" in process.text
    made = harness.examples_by_step(marks)
    # Four are made ahead, and one may be in the hand of the step that was not made.
    assert 0 <= len(made) - int(folder.name) <= 4 + 1
    figure(f"{phase} {seconds:.1f} s")
    harness.here(workdir)
    assert harness.result(workdir) == harness.result(clean())


@pytest.mark.slow
@pytest.mark.reliability(4)
def test_sigterm_before_the_loop_leaves_with_the_code_of_one_that_may_go_on(
    clean, tmp_path
):
    for seconds in (0.3, 1.0, 2.0, 3.0):
        process = harness.start(tmp_path / "run", step_ms=200)
        time.sleep(seconds)
        process.signal(signal.SIGTERM)
        assert process.end() in (75, -15)  # -15: before Python runs our first line
    assert process.popen.returncode == 75
    harness.here(tmp_path / "run")
    assert harness.result(tmp_path / "run") == harness.result(clean())


@pytest.mark.slow
@pytest.mark.reliability(5)
def test_sigterm_to_one_of_two_saves_the_same_step_on_both(
    clean_pair, tmp_path, figure
):
    workdir, marks = tmp_path / "run", [tmp_path / f"marks{i}" for i in range(2)]
    each = [{"marks": str(path)} for path in marks]
    pair = harness.start_two(workdir, each=each, step_ms=20)
    step = random.Random(5).randrange(30, 120)
    pair[1].wait_for(said(marks[1], f"batch {step} "))
    sent = time.monotonic()
    pair[1].signal(signal.SIGTERM)
    assert [process.end() for process in pair] == [75, 75]
    seconds = time.monotonic() - sent
    folder = harness.last(workdir)
    assert harness.whole(folder)
    assert all(f"stopped at step {int(folder.name)};" in p.text for p in pair)
    figure(f"{seconds:.1f} s")
    pair = harness.start_two(workdir)
    assert [process.end() for process in pair] == [0, 0]
    assert harness.result(workdir) == harness.result(clean_pair)


@pytest.mark.slow
@pytest.mark.reliability(6)
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_slow_save_at_once(clean, tmp_path, second, figure):
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    process = harness.start(workdir, marks=str(marks), step_ms=20, save_ms=4000)
    process.wait_for(said(marks, "save", 2))
    before = harness.steps(workdir)
    assert before == [0]  # the first evaluation is the best so far
    process.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.popen.poll() is None
    sent = time.monotonic()
    process.signal(second)
    code = process.end()
    seconds = time.monotonic() - sent
    assert seconds < 2
    assert code == 128 + second
    assert harness.steps(workdir) == before
    assert harness.whole(harness.last(workdir))
    figure(f"{signal.Signals(second).name} {seconds:.2f} s")
    harness.here(workdir)
    assert harness.result(workdir) == harness.result(clean())


@pytest.mark.reliability(4)
def test_the_command_to_go_on_is_printed_in_full(tmp_path):
    marks = tmp_path / "marks"
    process = harness.start(tmp_path / "run", marks=str(marks), step_ms=20)
    process.wait_for(said(marks, "batch 3"))
    process.signal(signal.SIGUSR1)
    assert process.end() == 75
    command = process.text.rpartition("to go on: ")[2]
    assert all(word in command for word in ("experiments.run", "--config", "--workdir"))
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["command"] == command.strip()
