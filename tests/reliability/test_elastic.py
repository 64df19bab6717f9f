"""A run that goes on with another number of devices or processes."""

import shutil

import numpy as np
import pytest

from tests.reliability import harness

FROM = 100


def losses(workdir):
    return {
        row["step"]: row["loss"] for row in harness.logged(workdir) if "loss" in row
    }


def largest_difference(run, whole):
    found, wanted = losses(run), losses(whole)
    assert found.keys() == wanted.keys()
    assert all(found[step] == wanted[step] for step in found if step <= FROM)
    steps = [step for step in found if FROM < step <= FROM + 50]
    assert len(steps) == 10
    return max(abs(found[step] / wanted[step] - 1) for step in steps)


def half(workdir, changes):
    """Runs to the middle, where it is asked to stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "kexue_jax.train.stop.StopRequest.at", lambda self, step: step >= FROM
        )
        outcome, _ = harness.here(workdir, changes=changes)
    assert (outcome.status, outcome.step) == ("preempted", FROM)


@pytest.mark.slow
@pytest.mark.reliability(16)
@pytest.mark.parametrize("sharded", ["data", "fsdp"])
def test_a_run_of_8_devices_goes_on_with_1_2_and_4(
    clean, tmp_path, monkeypatch, sharded, figure
):
    eight = {"mesh.data": 1, f"mesh.{sharded}": 8}
    half(tmp_path / "half", eight)
    whole = clean(**{name.replace(".", "__"): n for name, n in eight.items()})
    worst = 0.0
    for devices in (1, 2, 4):
        workdir, marks = tmp_path / str(devices), tmp_path / f"{devices}.marks"
        shutil.copytree(tmp_path / "half", workdir)
        monkeypatch.setenv("TINY", f'{{"marks": "{marks}"}}')
        outcome, _ = harness.here(workdir, changes={"mesh.data": devices})
        assert outcome.step == 200
        monkeypatch.setenv("TINY", "{}")
        worst = max(worst, largest_difference(workdir, whole))
        made = harness.examples_by_step(marks)
        source = harness.Examples()
        assert sorted(made) == list(range(FROM, 200))
        assert all(
            ids == {tuple(map(str, source(step)["index"]))}
            for step, ids in made.items()
        )
    figure(f"{sharded} 8 to 1, 2, 4: {worst:.1e}")
    assert worst <= 1e-5


@pytest.mark.slow
@pytest.mark.reliability(16)
def test_a_run_of_two_processes_goes_on_in_one(clean_pair, tmp_path, figure):
    name = "kexue_jax.train.checkpoint:Checkpoints._clear"
    each = ({"die": (name, FROM // 20 + 5)}, {})
    pair = harness.start_two(tmp_path / "run", each=each)
    assert pair[0].end() == -9
    assert pair[1].end() not in (0, 75)
    newest, marks = harness.steps(tmp_path / "run")[-1], tmp_path / "marks"
    process = harness.start(tmp_path / "run", devices=1, marks=str(marks))
    assert process.end() == 0
    assert f"going on from the checkpoint of step {newest}" in process.text
    found, wanted = losses(tmp_path / "run"), losses(clean_pair)
    assert found.keys() == wanted.keys()
    after = [step for step in wanted if newest < step <= newest + 50]
    worst = max(abs(found[step] / wanted[step] - 1) for step in after)
    made = harness.examples_by_step(marks)
    source = harness.Examples()
    assert sorted(made) == list(range(newest, 200))
    assert all(
        np.array_equal([int(i) for i in min(ids)], source(step)["index"])
        for step, ids in made.items()
    )
    figure(f"2 processes to 1 at step {newest}: {worst:.1e}")
    assert worst <= 1e-5
