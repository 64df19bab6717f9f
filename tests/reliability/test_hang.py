"""Runs that stand still."""

import time

import pytest

from tests.reliability import harness

SECONDS = 5.0


@pytest.mark.slow
@pytest.mark.reliability(15)
def test_data_that_never_come_end_the_run_with_its_stacks(clean, tmp_path, figure):
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    words = [f"--config.hang_seconds={SECONDS}"]
    process = harness.start(workdir, *words, hang=90, marks=str(marks))
    process.wait_for(lambda: ["hang"] in harness.marks(marks))
    since = time.monotonic()
    assert process.end() == 4
    seconds = time.monotonic() - since
    assert seconds <= SECONDS + 10
    assert "Hanging: no progress" in process.text
    assert "tiny.py" in process.text  # the thread that waits
    assert "in take" in process.text  # the thread that waits for it
    figure(f"data: {seconds:.1f} s, T = {SECONDS:.0f} s")
    harness.here(workdir)
    assert harness.result(workdir) == harness.result(clean())


@pytest.mark.slow
@pytest.mark.reliability(15)
def test_a_process_that_sleeps_ends_the_pair_with_both_stacks(tmp_path, figure):
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    each = ({}, {"marks": str(marks)})
    words = [f"--config.hang_seconds={SECONDS}"]
    pair = harness.start_two(workdir, *words, each=each, hang=90, on=1)
    pair[1].wait_for(lambda: ["hang"] in harness.marks(marks))
    since = time.monotonic()
    assert [process.end() for process in pair] == [4, 4]
    seconds = time.monotonic() - since
    assert seconds <= SECONDS + 10
    for process in pair:
        assert "Hanging: no progress" in process.text
        assert process.text.count("hread 0x") >= 3
    assert "tiny.py" in pair[1].text
    figure(f"pair: {seconds:.1f} s")
    pair = harness.start_two(workdir)
    assert [process.end() for process in pair] == [0, 0]
