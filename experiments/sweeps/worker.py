"""A worker: takes a trial, runs it, tells how it ended, until no trial is left.

Runs are made in the worker's own process, one after another, so that a trial costs no
start of Python; whatever kills one kills the worker with it, and nothing stays behind.
A worker may be several processes of `jax.distributed`: process 0 asks and tells.
"""

import contextlib
import gc
import json
import math
import os
import signal
import statistics
import time
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optuna
from jax.experimental import multihost_utils
from optuna.exceptions import UpdateFinishedTrialError

from experiments import runner
from experiments.configs import Experiment
from experiments.sweeps.definition import Point, Sweep, command_of, draw
from experiments.sweeps.slots import CHOICE, ERROR, SLOT, STOPPED, Lease, Slots
from experiments.sweeps.storage import StorageGone
from experiments.sweeps.studies import make_pruner, make_sampler, suggester
from experiments.sweeps.together import Lane, run_together
from kexue_jax.train.lock import Locked
from kexue_jax.train.rows import read_rows
from kexue_jax.train.step import Refused
from kexue_jax.train.stop import Interrupted, StopRequest

POLL_SECONDS = 2.0
WAIT, LEAVE, OVER, MORE = "wait", "leave", "over", "more"
OVER_RUNS = ("done", "pruned")


class Ended(NamedTuple):
    """How a trial ended: ``done``, ``pruned``, ``stopped`` or ``failed``, and why."""

    status: str
    scores: Mapping[str, Any]
    why: str = ""


class Worker:
    """One process, or several of `jax.distributed`, at work at a study."""

    def __init__(
        self,
        sweep: Sweep,
        workdir: Path,
        slots: Slots | None,
        *,
        log: Callable[[str], None] = print,
    ):
        """Prepares to work; `slots` are those of process 0, None on the others."""
        self.sweep, self.workdir, self.slots, self.log = sweep, workdir, slots, log
        self.trials: list[optuna.Trial] = []
        self._groups: dict[str, str] = {}
        if slots is not None:
            slots.study.pruner = make_pruner(sweep)

    def work(self, most: int = 0) -> str:
        """Runs trials until every slot is done; says why it leaves.

        Args:
          most: trials after which it leaves all the same; 0 for no limit.

        Returns:
          `OVER`, `LEAVE` if a signal came, or `MORE` if others are left.
        """
        made = 0
        with StopRequest() as stop:
            while not most or made < most:
                told = agreed(self._next(self.slots, stop) if self.slots else None)
                if told in (LEAVE, OVER):
                    return told
                if told == WAIT:
                    continue
                ended = self._run(told, stop)
                if self.slots:
                    for trial, how in zip(self.trials, ended, strict=True):
                        self._tell(self.slots, trial, how)
                if any(how.status == "stopped" for how in ended):
                    return LEAVE
                made += len(told)
                gc.collect()  # the arrays of a run that is over
        return MORE

    # Process 0 asks and tells

    def _next(self, slots: Slots, stop: StopRequest) -> Any:
        """What to do now: choices of overrides to run, or one of the words above."""
        self.trials = []
        if stop.requested:
            return LEAVE
        trial = slots.take()
        if trial is not None:
            choices = [self._choice(trial)]
            if self.sweep.together and "space" not in self.sweep.data:
                choices += self._others(slots, choices[0])
            return choices
        if slots.are_over():
            return OVER
        with contextlib.suppress(Interrupted), stop.interruptible():
            time.sleep(POLL_SECONDS)
        return WAIT

    def _choice(self, trial: optuna.Trial) -> dict[str, Any]:
        """Keeps a trial; returns its overrides, drawn if they are not known yet."""
        attrs = trial.user_attrs
        if CHOICE not in attrs:
            trial.study.sampler = make_sampler(self.sweep, attrs[SLOT])
            trial = optuna.Trial(trial.study, trial._trial_id)
            choice = draw(self.sweep, suggester(trial))
            trial.set_user_attr("id", self.sweep.resolve(choice)[0].id)
            trial.set_user_attr(CHOICE, choice)  # last: what has it is whole
        self.trials.append(trial)
        return trial.user_attrs[CHOICE]

    def _others(self, slots: Slots, choice: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Takes more trials that can run side by side with one; their overrides."""
        group, found = self._group(choice), []
        fits = lambda t: self._group(t.user_attrs.get(CHOICE, {})) == group  # noqa: E731
        while len(found) + 1 < self.sweep.lanes:
            trial = slots.take(fits=fits)
            if trial is None:
                break
            found.append(self._choice(trial))
        return found

    def _group(self, choice: Mapping[str, Any]) -> str:
        key = json.dumps(dict(choice), sort_keys=True)
        if key not in self._groups:
            self._groups[key] = self.sweep.group(self.sweep.resolve(choice)[0])
        return self._groups[key]

    def _tell(self, slots: Slots, trial: optuna.Trial, ended: Ended) -> None:
        objective = self.sweep.objective
        choice = trial.user_attrs.get(CHOICE, {})
        said = " ".join(f"{k.rpartition('.')[2]}={v}" for k, v in choice.items())
        name = f"trial {trial.number} ({said})"
        values: list[Any] = [ended.scores.get(x) for x in objective] or [0.0]
        if ended.status == "done" and not all(map(_is_number, values)):
            had = ", ".join(sorted(ended.scores))
            given = dict(zip(objective, values, strict=True))
            why = f"no finite {given}; its scores are {had}"
            ended = Ended("failed", ended.scores, why)
        kinds = {"stopped": STOPPED, "failed": ERROR}
        try:
            trial.set_user_attr("scores", dict(ended.scores))
            if ended.status in kinds:
                ours = slots.end(trial, kinds[ended.status], ended.why)
            else:
                if ended.why:
                    trial.set_user_attr("why", ended.why)
                pruned = ended.status == "pruned"
                ours = slots.tell(trial, values, pruned=pruned)
        except UpdateFinishedTrialError:
            ours = False
        if not ours:
            self.log(f"{name} was given to another worker meanwhile")
            return
        words = [f"{name} {ended.status}"]
        words += [f"{k} {ended.scores.get(k)}" for k in objective]
        self.log(", ".join(words) + f": {ended.why}" * bool(ended.why))

    # All processes run

    def _run(self, choices: Sequence[Mapping], stop: StopRequest) -> list[Ended]:
        """Runs choices and returns how each ended; a score is a mean over its seeds."""
        seeds = self.sweep.seeds if "space" in self.sweep.data else ()
        with contextlib.ExitStack() as stack:
            for trial in self.trials:
                stack.enter_context(self._lease(trial))
            if not seeds:
                return self._run_all(choices, stop)
            (choice,) = choices
            parts = [{**choice, "seed": seed} for seed in seeds]
            return [_merged(self._run_all(parts, stop))]

    def _run_all(self, choices: Sequence[Mapping], stop: StopRequest) -> list[Ended]:
        lanes = [Lane(*self.sweep.resolve(choice)) for choice in choices]
        if self.sweep.together and len(lanes) > 1:
            self._run_together(lanes, stop)
        ended = []
        for lane in lanes:
            if ended and ended[-1].status == "stopped":
                ended.append(ended[-1])
                continue
            try:
                how = self._run_one(*lane, stop)
            except StorageGone:
                raise
            except Exception as error:
                how = Ended("failed", {}, f"{type(error).__name__}: {error}")
            ended.append(Ended(*agreed(how)))
        return ended

    def _run_together(self, lanes: Sequence[Lane], stop: StopRequest) -> None:
        """Runs what can be run side by side; what is not comes one by one."""
        left = [x for x in lanes if _ended(self.workdir / x.point.id) is None]
        if len(left) < 2:
            return
        if len({self.sweep.group(x.point) for x in left}) > 1:
            self.log("one by one: more of their configs follows what they differ in")
            return
        try:
            folder, paths = self.workdir / left[0].point.id, self.sweep.together
            with self._log_of(folder) as log, stop.interruptible():
                outcome = run_together(left, paths, self.workdir, log=log)
            stop.requested |= outcome.status == "preempted"
        except Interrupted:
            stop.requested = True
        except (Refused, Locked) as error:
            self.log(f"one by one: {error}")
        except Exception as error:
            self.log(f"one by one, as {type(error).__name__}: {error}")

    def _run_one(self, point: Point, experiment: Experiment, stop) -> Ended:
        """Runs one config, or goes on with it; waits while another process has it."""
        workdir, waited = self.workdir / point.id, False
        while True:
            try:
                with self._log_of(workdir) as log, stop.interruptible():
                    ended = _ended(workdir)
                    if agreed(ended is None or ended.status not in OVER_RUNS):
                        self._run_in(workdir, point, experiment, log)
                        ended = _ended(workdir)
                return ended or Ended("done", {})
            except Interrupted:
                return Ended("stopped", {}, "asked to stop")
            except Locked as error:
                if not waited:
                    self.log(f"waiting: {error}")
                waited = True
                time.sleep(POLL_SECONDS)

    def _run_in(self, workdir, point: Point, experiment: Experiment, log) -> None:
        try:
            runner.run(
                experiment,
                workdir,
                command=command_of(self.sweep, point, workdir),
                log=log,
                progress=False,
                judge=self._judge(workdir),
            )
        except (Locked, Interrupted):
            raise
        except Exception:
            log(traceback.format_exc())
            raise

    @contextlib.contextmanager
    def _log_of(self, workdir: Path) -> Generator[Callable[[str], None]]:
        """Gives what writes lines into the run's ``log.txt``."""
        if jax.process_index():
            yield lambda line: None
            return
        workdir.mkdir(parents=True, exist_ok=True)
        with open(workdir / "log.txt", "a", encoding="utf-8") as file:
            yield lambda line: print(line, file=file, flush=True)

    def _lease(self, trial: optuna.Trial) -> Lease:
        assert self.slots is not None
        stop_this = lambda: os.kill(os.getpid(), signal.SIGTERM)  # noqa: E731
        return Lease(self.slots, trial, lost=stop_this)

    def _judge(self, workdir: Path) -> Callable[[Mapping[str, Any]], str] | None:
        """What reports each score of the objective to Optuna, and asks its pruner.

        A trial that goes on after another of its slot first reports what that wrote.
        """
        if "pruner" not in self.sweep.data:
            return None
        if not self.trials:
            return lambda row: ""
        (trial,), (score,) = self.trials, self.sweep.objective
        known: set[int] = set()

        def judge(row: Mapping[str, Any]) -> str:
            value = row.get(score)
            if value is None or row["step"] in known:
                return ""
            known.add(row["step"])
            try:
                trial.report(value, row["step"])
                if not trial.should_prune():
                    return ""
            except UpdateFinishedTrialError:  # the lease says so too
                return ""
            return (
                f"{score} is {value:.6g} at step {row['step']}, where others did better"
            )

        for row in read_rows(workdir / "scores.jsonl"):
            judge(row)
        return judge


def _ended(workdir: Path) -> Ended | None:
    """How the run of a directory has ended, as process 0 finds it; None if not yet."""
    if jax.process_index() or not (workdir / "status.json").exists():
        return None
    note = json.loads((workdir / "status.json").read_text("utf-8"))
    status, why = note["status"], note["reason"]
    if status in ("finished", "stopped early"):
        result = json.loads((workdir / "result.json").read_text("utf-8"))
        return Ended("done", result["scores"])
    if status == "pruned":
        rows = read_rows(workdir / "scores.jsonl")
        return Ended("pruned", rows[-1] if rows else {}, why)
    return Ended({"preempted": "stopped"}.get(status, "failed"), {}, why)


def agreed(value: Any) -> Any:
    """Returns what process 0 has, on all processes; it must be of JSON."""
    if jax.process_count() == 1:
        return value
    data = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
    data = data if jax.process_index() == 0 else np.zeros(size, np.uint8)
    told = multihost_utils.broadcast_one_to_all(data)
    return json.loads(bytes(np.asarray(told, np.uint8)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _merged(ended: Sequence[Ended]) -> Ended:
    """How a trial of several runs ended: as the first that failed, or all of them."""
    for one in ended:
        if one.status not in OVER_RUNS:
            return one
    common = [
        key
        for key in ended[0].scores
        if all(_is_number(one.scores.get(key)) for one in ended)
    ]
    means = {key: statistics.fmean(one.scores[key] for one in ended) for key in common}
    return ended[0]._replace(scores=means)
