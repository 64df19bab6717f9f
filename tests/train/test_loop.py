import os
import signal
import time

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.train import loop, parallel
from kexue_jax.train.loop import fit
from kexue_jax.train.options import Options
from kexue_jax.train.rows import read_rows


class Counting:
    """One parameter, which every step lowers by 1; the loss is `loss_at` the batch."""

    def __init__(self, loss_at=lambda number: 1.0, before=lambda number: None):
        self.loss_at, self.before = loss_at, before

    def init(self, rng):
        return {"w": jnp.zeros(())}, {}

    def batch(self, step):
        self.before(step)
        size = np.full((2, 1), self.loss_at(step), np.float32)
        return {"number": np.full((2, 1), step, np.int32), "size": size}

    def loss(self, params, extras, batch, rng):
        number = jnp.mean(batch["number"].astype(jnp.float32))
        loss = jnp.mean(batch["size"]) + params["w"] - params["w"]
        return loss, (extras, {"number": number})

    def evaluate(self, params, extras):
        return {"held_out/w": float(params["w"])}


LOWER = optax.stateless(lambda updates, params: {"w": -jnp.ones(())})


def run(tmp_path, task, **options):
    layout = parallel.make_layout(data=1)
    options = Options(**{"steps": 50, "log_every": 1, **options})
    return fit(task, LOWER, options, workdir=tmp_path, layout=layout)


@pytest.mark.parametrize("long", [0.0, 60.0])
def test_every_row_is_of_its_own_step_however_late_it_is_read(
    tmp_path, monkeypatch, long
):
    monkeypatch.setattr(loop, "LONG", long)
    outcome = run(tmp_path, Counting())
    assert outcome.status == "finished"
    assert [row["step"] for row in outcome.rows] == list(range(51))
    assert [row["number"] for row in outcome.rows[1:]] == list(range(50))
    assert outcome.rows[-1]["held_out/w"] == -50


def test_the_speed_in_a_row_is_that_of_steps_also_if_many_rows_are_read_at_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "LONG", 60.0)
    run(tmp_path, Counting(before=lambda number: time.sleep(0.005)), prefetch=2)
    rows = read_rows(tmp_path / "timing.jsonl")
    rates = [row["steps_per_second"] for row in rows if row["step"] > 0]
    assert len(rates) == 50
    assert max(rates) < 1000  # a step takes 5 ms


class Slow(Counting):
    """Its steps take the devices many milliseconds."""

    def loss(self, params, extras, batch, rng):
        matrix = jnp.full((300, 300), jnp.mean(batch["size"]) / 300)
        for _ in range(10):
            matrix = matrix @ matrix
        loss, found = super().loss(params, extras, batch, rng)
        return loss + 0.0 * jnp.sum(matrix), found


def test_long_steps_are_not_sent_far_ahead(tmp_path, monkeypatch):
    """So the row of a step does not come seconds after the step."""
    read = {}

    def note(self, step, *args):
        read[step] = self.step

    measured = []
    monkeypatch.setattr(loop._Run, "_check_finite", note)
    # What is measured depends on what else the machine does: it is seen apart.
    pace = property(
        lambda self: loop.LONG, lambda self, seconds: measured.append(seconds)
    )
    monkeypatch.setattr(loop._Run, "pace", pace, raising=False)
    run(tmp_path, Slow(), steps=18)
    assert max(measured) > 1e-4
    assert read == {step: min(step + loop.RUN_AHEAD, 18) for step in range(1, 19)}


def test_what_is_evaluated_or_saved_is_the_state_of_that_step(tmp_path):
    outcome = run(tmp_path, Counting(), log_every=3, eval_every=7)
    found = {row["step"]: row for row in outcome.rows}
    assert sorted(found) == sorted({*range(0, 50, 3), *range(0, 50, 7), 50})
    for step in range(0, 50, 7):
        assert found[step]["held_out/w"] == -step


def test_a_run_that_is_stopped_has_the_rows_of_all_its_steps(tmp_path):
    def stop(number):
        if number == 30:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.002)

    outcome = run(tmp_path, Counting(before=stop), prefetch=2)
    assert outcome.status == "preempted"
    assert 0 < outcome.step < 50
    assert [row["step"] for row in outcome.rows] == list(range(outcome.step + 1))
    again = run(tmp_path, Counting())
    assert [row["step"] for row in again.rows] == list(range(51))
    assert [row["number"] for row in again.rows[1:]] == list(range(50))


def test_who_looks_on_may_end_a_run_which_goes_on_when_asked_again(tmp_path):
    seen = []

    def judge(row):
        seen.append(row["step"])
        return "enough" if row["step"] == 20 else ""

    layout, task = parallel.make_layout(data=1), Counting()
    options = Options(steps=50, log_every=1, eval_every=10)
    look = loop.Watchers(judge=judge)
    parts = dict(workdir=tmp_path, layout=layout)
    outcome = fit(task, LOWER, options, watchers=look, **parts)
    assert (outcome.status, outcome.reason) == ("pruned", "enough")
    assert seen == list(range(21))
    assert 20 <= outcome.step < 50
    assert [row["step"] for row in outcome.rows] == list(range(outcome.step + 1))
    again = fit(task, LOWER, options, **parts)
    assert again.status == "finished"
    assert [row["number"] for row in again.rows[1:]] == list(range(50))


def test_a_spike_drops_the_steps_that_were_under_way_when_it_was_read(tmp_path):
    """Batch 30 spikes: steps 21 to 31 are made again, from batches 31 and later."""
    task = Counting(lambda number: 100.0 if number == 30 else 1.0)
    outcome = run(tmp_path, task, save_every=10, spike_factor=5.0, spike_window=10)
    assert [row["step"] for row in outcome.rows] == list(range(51))
    numbers = [row["number"] for row in outcome.rows[1:]]
    first = outcome.state.counters["offset"] + 20
    assert numbers == [*range(20), *range(first, first + 30)]
    assert first > 30
    assert all(row.get("loss", 1.0) == 1.0 for row in outcome.rows)
    assert outcome.state.params["w"] == -50


def test_a_step_that_is_not_finite_halts_at_the_state_before_it(tmp_path):
    task = Counting(lambda number: np.nan if number == 30 else 1.0)
    outcome = run(tmp_path, task)
    assert outcome.status == "halted"
    assert outcome.step == 30
    assert outcome.state.params["w"] == -30
    assert "step 31 is not finite, first in loss" in outcome.reason
    assert outcome.rows[-1]["step"] == 30


class Named(Counting):
    """Its params are called like what the loop reads in an optimizer's state."""

    def init(self, rng):
        return {"w": jnp.zeros(()), "scores": {"average": jnp.zeros(())}}, {}


def test_params_may_be_called_scores_and_average(tmp_path):
    task, tx = Named(), optax.chain(optax.scale_by_adam(), optax.scale(-1.0))
    layout = parallel.make_layout(data=1)
    options = Options(steps=3, log_every=1)
    outcome = fit(task, tx, options, workdir=tmp_path, layout=layout)
    assert outcome.status == "finished"
    assert "average" not in outcome.rows[-1]
