"""The order of the examples: the same however a run is cut up."""

import random

import numpy as np
import pytest

from kexue_jax.train.prefetch import Prefetch
from tests.reliability import harness
from tests.reliability.tiny import Examples

STEPS = 12  # three epochs of 64 examples, 16 a step


@pytest.mark.reliability(17)
def test_every_epoch_is_a_permutation_and_resuming_repeats_it(figure):
    """One and two batches ahead are our workers; 10 resumes each, for 3 seeds."""
    draw, mismatches = random.Random(0), 0
    for seed in range(3):
        source = Examples(seed=seed)
        ids = np.concatenate([source(step)["index"] for step in range(STEPS)])
        epochs = ids.reshape(3, 64)
        assert all(sorted(epoch) == list(range(64)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 3
        for depth in (1, 2):
            for begin in [0, *draw.choices(range(STEPS), k=10)]:
                fresh = Examples(seed=seed)
                ahead = Prefetch(fresh, begin, STEPS, depth=depth)
                got = [ahead.take(step)["index"] for step in range(begin, STEPS)]
                mismatches += not np.array_equal(np.concatenate(got), ids[16 * begin :])
                ahead.close()
    orders = {tuple(Examples(seed=seed)(0)["index"]) for seed in range(3)}
    assert len(orders) == 3
    figure(f"{mismatches} mismatches")
    assert mismatches == 0


@pytest.mark.reliability(17)
@pytest.mark.parametrize("ahead", [1, 2])
def test_a_run_that_was_stopped_sees_what_it_would_have_seen(
    tmp_path, monkeypatch, ahead
):
    marks = tmp_path / "marks"
    monkeypatch.setenv("TINY", f'{{"marks": "{marks}"}}')
    changes = {"steps": STEPS, "save_every": 5, "prefetch": ahead}
    for stop in (7, 10**9):
        with monkeypatch.context() as patch:
            patch.setattr(
                "kexue_jax.train.stop.StopRequest.at",
                lambda self, step, stop=stop: step >= stop,
            )
            harness.here(tmp_path / "run", changes=changes)
    source = Examples()
    assert harness.examples_by_step(marks) == {
        step: {tuple(map(str, source(step)["index"]))} for step in range(STEPS)
    }


@pytest.mark.slow
@pytest.mark.reliability(17)
def test_two_processes_see_the_order_of_one(tmp_path, figure):
    marks = [tmp_path / f"marks{i}" for i in range(2)]
    each = [{"marks": str(path)} for path in marks]
    pair = harness.start_two(tmp_path / "run", f"--config.steps={STEPS}", each=each)
    assert [process.end() for process in pair] == [0, 0]
    source = Examples()
    wanted = {step: {tuple(map(str, source(step)["index"]))} for step in range(STEPS)}
    assert [harness.examples_by_step(path) for path in marks] == [wanted, wanted]
    figure("2 processes equal")
