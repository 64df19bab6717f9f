"""Runs of a sweep side by side in one program, each with a directory of its own."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from experiments import runner
from experiments.configs import Experiment
from experiments.objects import Objects, make_objects
from experiments.sweeps.definition import Point
from kexue_jax.train import lanes
from kexue_jax.train.checkpoint import Checkpoints
from kexue_jax.train.loop import Outcome
from kexue_jax.train.rows import Rows, read_rows
from kexue_jax.train.step import Refused


class Lane(NamedTuple):
    """One of the runs."""

    point: Point
    experiment: Experiment


def run_together(
    members: Sequence[Lane],
    paths: Sequence[str],
    workdir: Path,
    *,
    log: Callable[[str], None],
) -> Outcome:
    """Runs several points at once, or goes on with them.

    Once they are through, each has a directory as a run of its own would have left it
    before its last word; an ordinary run there only concludes.

    Args:
      members: the runs, which differ in `paths` only.
      paths: ``seed`` and scalars of the optimizer.
      workdir: the sweep's; that of the whole lies in ``together`` there.
      log: takes lines for people.

    Raises:
      Refused: if these runs cannot be made side by side; the message says why.
    """
    name = hashlib.sha256(" ".join(m.point.id for m in members).encode())
    whole = workdir / "together" / name.hexdigest()[:12]
    outcome = runner.run(
        members[0].experiment,
        whole,
        log=log,
        progress=False,
        make=lambda experiment: lane_objects(members, paths),
    )
    if outcome.status == "finished":
        for i, member in enumerate(members):
            _part(i, len(members), member, outcome, whole, workdir / member.point.id)
    return outcome


def lane_objects(members: Sequence[Lane], paths: Sequence[str]) -> Objects:
    """Returns the task and the transform of all runs, for the one loop.

    Raises:
      Refused: if they cannot be made side by side.
    """
    one = make_objects(members[0].experiment)
    lanes.check_options(one.options)
    if jax.process_count() > 1:
        raise Refused("runs side by side need one process")
    if one.layout.mode != "jit":
        raise Refused(f"runs side by side need the mode jit, got {one.layout.mode}")
    transforms = [one.tx] * len(members)
    if set(paths) - {"seed"}:
        transforms = [make_objects(member.experiment).tx for member in members]
    seeds = [member.experiment.config.seed for member in members]
    return one._replace(
        task=lanes.Lanes(one.task, seeds, wrap=one.wrap),
        tx=lanes.lanes_transform(transforms),
        wrap=(),
        schedules={},
    )


def _part(i, count, member: Lane, outcome: Outcome, whole: Path, folder: Path) -> None:
    """Writes what a run of its own would have left of a lane."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(folder / "scores.jsonl")
    rows.cut(-1)
    for row in outcome.rows:
        rows.append(lanes.lane_row(row, i))
    rows.sync()
    rows.close()
    timing = Rows(folder / "timing.jsonl")
    timing.cut(-1)
    for row in read_rows(whole / "timing.jsonl"):
        timing.append(row | {"seconds": row["seconds"] / count})
    timing.close()
    task = make_objects(member.experiment).task
    fingerprint = getattr(task, "fingerprint", dict)()
    checkpoints = Checkpoints(folder / "checkpoints", data=fingerprint)
    if outcome.step not in checkpoints.steps():
        state = lanes.lane_state(outcome.state, i)
        checkpoints.save(outcome.step, state, {"row": {}})
        checkpoints.wait()
