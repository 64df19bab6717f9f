"""A disk that is full, read-only or gone."""

import contextlib
import subprocess

import pytest

from tests.reliability import harness


@pytest.mark.slow
@pytest.mark.reliability(10)
def test_a_full_disk_is_told_at_once_and_training_goes_on(clean, tmp_path, figure):
    """The saves of 60 to 80 find it full, as Orbax says so: in the background.

    The policy is `on_save_failure`: ``continue`` here, ``stop`` below.
    """
    workdir = tmp_path / "run"
    outcome = harness.start(
        workdir, "--config.on_save_failure=continue", full=(60, 80), step_ms=10
    )
    assert outcome.end() == 0
    alarms = [
        row for row in harness.incidents(workdir) if row["event"] == "save failed"
    ]
    assert 2 <= len(alarms) <= 4  # 75 is saved too, if it is the best so far
    late = max(
        min(row["step"] - s for s in (60, 75, 80) if row["step"] >= s) for row in alarms
    )
    assert outcome.text.count("ALARM: the checkpoint of step") == len(alarms)
    assert "No space left on device" in outcome.text
    assert late <= 20
    assert harness.result(workdir) == harness.result(clean())
    figure(f"alarm after {late} steps")


@pytest.mark.slow
@pytest.mark.reliability(10)
def test_a_full_disk_stops_a_run_that_is_to_stop(clean, tmp_path):
    workdir = tmp_path / "run"
    process = harness.start(workdir, full=(60, 60), step_ms=10)
    assert process.end() == 74
    assert "the checkpoint of step 60 was not saved" in process.text
    assert "step 50 is the last whole one" in process.text
    assert harness.whole(harness.last(workdir))
    harness.here(workdir)
    assert harness.result(workdir) == harness.result(clean())


@pytest.mark.slow
@pytest.mark.reliability(10)
def test_a_disk_that_is_really_full_leaves_what_was_whole(clean, tmp_path, figure):
    """Where file systems may be mounted: one of 1 MiB, which a growing file fills."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        figure("no mount here: injected only")
        return
    try:
        workdir, marks = disk / "run", tmp_path / "marks"
        process = harness.start(
            workdir,
            "--config.on_save_failure=continue",
            step_ms=25,
            marks=str(marks),
        )
        process.wait_for(lambda: 40 in harness.steps(workdir))
        with contextlib.suppress(OSError), open(disk / "filler", "wb", 0) as filler:
            while filler.write(b"0" * 4096):
                pass
        assert process.end() == 74
        assert "No space left on device" in process.text
        assert harness.whole(harness.last(workdir))
        (disk / "filler").unlink()
        harness.here(workdir)
        assert harness.result(workdir) == harness.result(clean())
        figure("a real full disk: exit 74, then finished")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.slow
@pytest.mark.reliability(11)
def test_a_workdir_that_becomes_read_only_is_told_within_one_save(
    clean, tmp_path, figure
):
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    process = harness.start(
        workdir, marks=str(marks), step_ms=25, without_override=True
    )
    process.wait_for(lambda: 40 in harness.steps(workdir))
    folders = [workdir, workdir / "checkpoints"]
    for folder in folders:
        folder.chmod(0o555)
    made = len(harness.examples_by_step(marks))
    assert process.end() == 74
    later = len(harness.examples_by_step(marks)) - made
    newest = harness.steps(workdir)[-1]
    assert "was not saved" in process.text
    assert f"step {newest} is the last whole one" in process.text
    assert "finished" not in process.text
    assert later <= 20 + 5
    for folder in folders:
        folder.chmod(0o755)
    harness.here(workdir)
    assert harness.result(workdir) == harness.result(clean())
    figure(f"read-only: told after {later} steps")


@pytest.mark.slow
@pytest.mark.reliability(11)
@pytest.mark.parametrize("another", [False, True])
def test_a_workdir_that_is_moved_away_is_told_within_one_save(
    clean, tmp_path, another, figure
):
    """Also if another folder has its name by then, in which nothing is written."""
    workdir, marks = tmp_path / "run", tmp_path / "marks"
    process = harness.start(workdir, marks=str(marks), step_ms=25)
    process.wait_for(lambda: 40 in harness.steps(workdir))
    workdir.rename(tmp_path / "moved")
    if another:
        workdir.mkdir()
    made = len(harness.examples_by_step(marks))
    assert process.end() == 74
    later = len(harness.examples_by_step(marks)) - made
    assert "was not saved" in process.text
    assert "finished" not in process.text
    assert later <= 20 + 5
    assert list(tmp_path.glob("run/*")) == []
    harness.here(tmp_path / "moved")
    assert harness.result(tmp_path / "moved") == harness.result(clean())
    figure(f"moved: told after {later} steps")


@pytest.mark.slow
@pytest.mark.reliability(11)
def test_a_workdir_that_cannot_be_written_is_refused_before_training(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir(mode=0o555)
    process = harness.start(workdir, without_override=True)
    assert process.end() == 74
    assert "Permission denied" in process.text
    assert list(workdir.iterdir()) == []
