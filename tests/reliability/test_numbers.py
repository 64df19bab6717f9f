"""Gradients that are nan, once or for ever, and a loss that spikes."""

import shutil

import jax
import numpy as np
import pytest

from tests.reliability import harness

SPIKE = {"spike_factor": 8.0, "max_skips": 3}


def mishap(monkeypatch, **what):
    import json

    monkeypatch.setenv("TINY", json.dumps(what))


@pytest.mark.reliability(12)
def test_an_update_that_is_nan_in_one_shard_is_made_nowhere(
    tmp_path, monkeypatch, figure
):
    mishap(monkeypatch, nan=(39, 39))
    many = {"mesh.data": 8, "max_skips": 3}
    short = {"steps": 40, "save_every": 39}
    outcome, _ = harness.here(tmp_path / "short", changes=many | short)
    kept = harness.checkpoints(tmp_path / "short", print)
    assert kept.steps()[-2:] == [39, 40]
    count = ("step", "counters/")
    before, after = (harness.digest(kept.path(step), count) for step in (39, 40))
    assert before == after
    counters = outcome.state.counters
    assert int(counters["skipped"]) == int(counters["skipped_in_row"]) == 1
    for leaf in jax.tree.leaves((outcome.state.params, outcome.state.opt_state)):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 8
        assert all(np.array_equal(x, copies[0]) for x in copies)
    (incident,) = harness.incidents(tmp_path / "short")
    assert incident["step"] == 40
    assert len(incident["examples"]) == 16
    outcome, _ = harness.here(tmp_path / "long", changes=many)
    assert (outcome.status, outcome.step) == ("finished", 200)
    assert int(outcome.state.counters["skipped"]) == 1
    figure("1 update skipped, state bit-equal on 8 shards")


@pytest.mark.slow
@pytest.mark.reliability(13)
def test_gradients_that_stay_nan_end_the_run_and_soon_its_restarts(tmp_path, figure):
    """After 3 skips it halts with 3; two restarts may try again, a third may not.

    What the batches were is in ``incidents.jsonl``.
    """
    workdir = tmp_path / "run"
    codes, seen = [], []
    for attempt in range(4):
        marks = tmp_path / f"marks{attempt}"
        process = harness.start(
            workdir, "--config.max_skips=3", nan=(40, 10**9), marks=str(marks)
        )
        codes.append(process.end())
        seen.append(len(harness.examples_by_step(marks)))
    assert codes == [3, 3, 3, 3]
    assert [bool(count) for count in seen] == [True, True, True, False]
    assert "has halted 3 times" in process.text
    found = harness.incidents(workdir)
    assert [row["step"] for row in found[:4]] == [41, 42, 43, 44]
    assert all(len(row["examples"]) == 16 for row in found)
    state = harness.arrays(harness.last(workdir))
    assert all(np.isfinite(x).all() for x in state.values())
    figure("2 restarts, then refused")


@pytest.mark.slow
@pytest.mark.reliability(14)
def test_a_spike_rolls_the_run_back_to_a_checkpoint_before_it(
    clean, tmp_path, monkeypatch, figure
):
    """The policy is `spike_factor`: back, and past the batches since."""
    mishap(monkeypatch, spike=(100, 100))
    changes = {**SPIKE, "mesh.data": 1}
    outcome, _ = harness.here(tmp_path / "run", variant="sgd", changes=changes)
    assert (outcome.status, outcome.step) == ("finished", 200)
    (back,) = harness.incidents(tmp_path / "run")
    assert back["event"] == "rolled back"
    assert back["from"] - 100 <= 5
    assert back["step"] == 80  # the newest checkpoint from before batch 100
    assert int(outcome.state.counters["offset"]) == back["from"] - back["step"]
    assert harness.steps(tmp_path / "run")[-1] == 200
    harness.check_rows(tmp_path / "run")
    calm = clean("sgd", **SPIKE)
    ends = [
        np.mean([row["loss"] for row in harness.logged(path)[-4:]])
        for path in (tmp_path / "run", calm)
    ]
    figure(
        f"found after {back['from'] - 100} steps; loss {ends[0] / ends[1]:.3f} clean"
    )
    assert ends[0] < 1.25 * ends[1]


MOMENTS = [
    ("kexue_jax.train.loop:_Run._roll_back", False),
    ("kexue_jax.train.checkpoint:Checkpoints.roll_back", False),
    ("kexue_jax.train.checkpoint:Checkpoints.roll_back", True),
    ("kexue_jax.train.loop:_Run._roll_back", True),
]


@pytest.mark.slow
@pytest.mark.reliability(14)
@pytest.mark.parametrize(("name", "after"), MOMENTS)
def test_a_run_killed_in_a_rollback_ends_as_one_that_was_not(
    tmp_path, monkeypatch, name, after
):
    mishap(monkeypatch, spike=(119, 119))
    harness.here(tmp_path / "whole", variant="sgd", changes=SPIKE)
    words = [f"--config.{key}={value}" for key, value in SPIKE.items()]
    process = harness.start(
        tmp_path / "run",
        *words,
        variant="sgd",
        spike=(119, 119),
        die=(name, 1),
        after=after,
    )
    assert process.end() == -9
    harness.here(tmp_path / "run", variant="sgd", changes=SPIKE)
    assert harness.result(tmp_path / "run") == harness.result(tmp_path / "whole")
    whole, run = (harness.incidents(tmp_path / name) for name in ("whole", "run"))
    assert whole == run
    shutil.rmtree(tmp_path / "run")
