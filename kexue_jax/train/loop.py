"""The one loop: any task, any optax transform, from the first step to the report.

What happens at a step is a function of the step alone: its batch, its randomness,
whether it is logged, evaluated or saved. So a run that is killed and started again ends
with the same parameters and the same rows, bit for bit, as one that was left alone.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils

from kexue_jax.train import parallel
from kexue_jax.train.checkpoint import Checkpoints, SaveError
from kexue_jax.train.compiled import Scores, abstract_state, compile_step
from kexue_jax.train.incidents import Halted, Incidents
from kexue_jax.train.options import Options, best_of, is_spike
from kexue_jax.train.prefetch import Prefetch
from kexue_jax.train.rows import Rows
from kexue_jax.train.step import Refused, State, culprits, init_state, kept
from kexue_jax.train.stop import Interrupted, StopRequest
from kexue_jax.train.watchdog import Watchdog

RUN_AHEAD = 2  # steps that stay under way while the loop waits for those before
MANY, LONG = 16, 0.1  # it waits at so many steps under way, or seconds of their work


class UnderWay(NamedTuple):
    """A step that the devices may still be at, and the time since it was sent there."""

    step: int
    scores: Scores
    since: float


class Outcome(NamedTuple):
    """How a run ended.

    `status` is ``finished``, ``stopped early``, ``pruned``, ``preempted`` or
    ``halted``; `reason` says more of the last three.
    """

    status: str
    step: int
    state: State
    rows: list[dict[str, Any]]
    reason: str = ""


@dataclass
class Watchers:
    """Those who look on: trackers, the progress line, a log for people, a profiler.

    `open_writers` gives the trackers, from the first step that is written (again); what
    they hold of it and later they drop. `profile` is the first and the last step of a
    trace, which lies in ``profile``. `schedules` are functions of the step whose values
    are logged, such as the learning rate. `judge` takes each row and says why the run
    should end there, or nothing; that of process 0 decides.
    """

    open_writers: Callable[[int], Sequence[Any]] = lambda step: ()
    progress: Any = None
    log: Callable[[str], None] = lambda line: None
    schedules: Mapping[str, Callable] = field(default_factory=dict)
    profile: tuple[int, int] | None = None
    judge: Callable[[Mapping[str, Any]], str] | None = None


Start = Callable[[Any], Mapping[str, np.ndarray]]
"""From the shapes of the parameters to some of them, by their paths."""


class Pruned(Exception):
    """Somebody who looks on has ended the run; the message says why."""


def evaluated_params(state: State) -> Any:
    """Returns the weights, or their average if the optimizer keeps one."""
    averages = kept(state.opt_state, "average")
    if len(averages) > 1:
        raise ValueError(f"{len(averages)} transforms keep an average; which counts?")
    return averages[0] if averages else state.params


def fit(
    task: Any,
    tx: optax.GradientTransformation,
    options: Options,
    *,
    workdir: Path,
    layout: parallel.Layout | None = None,
    wrap: Sequence[Callable] = (),
    watchers: Watchers | None = None,
    start: Start | None = None,
    allow_data_change: bool = False,
) -> Outcome:
    """Runs a task to its end, from the newest checkpoint in `workdir` if there is one.

    Args:
      task: see `step.Task`.
      tx: any optax transform.
      options: see `Options`.
      workdir: takes ``scores.jsonl`` (the same bytes for the same run),
        ``timing.jsonl``, ``incidents.jsonl`` (what was skipped or rolled back) and
        ``checkpoints``.
      layout: mesh and placement; default all devices, data split.
      wrap: functions from loss to loss.
      watchers: those who look on.
      start: gives parameters to begin with by their paths, such as pretrained ones, for
        those that are drawn; called only if there is no checkpoint.
      allow_data_change: goes on although the task's data are others than before.

    Returns:
      How it ended, with the state and all rows.

    Raises:
      Refused: if task, options and layout do not fit each other.
      CheckpointError: if no checkpoint may be gone on from.
      SaveError, OSError: if nothing can be written; the checkpoints before are whole.
    """
    with contextlib.ExitStack() as stack:
        run = _Run(task, tx, options, Path(workdir), layout, wrap, watchers)
        run.stop = stack.enter_context(StopRequest())
        dog = Watchdog(options.hang_seconds, grace_seconds=_grace())
        run.dog = stack.enter_context(dog)
        stack.callback(run.close)
        return run.go(allow_data_change, start)


def _grace() -> float:
    """Seconds between the stacks of a hang and the end of the process.

    When one of several processes ends, the others fail; they must have found their own
    hang by then. Process 0 leaves last, as all are aborted when it does.
    """
    if jax.process_count() == 1:
        return 0.0
    return 6.0 if jax.process_index() == 0 else 3.0


class _Run:
    """The state of one call of `fit`."""

    stop: StopRequest
    dog: Watchdog

    def __init__(self, task, tx, options, workdir, layout, wrap, watchers):
        self.task, self.tx, self.options, self.wrap = task, tx, options, wrap
        self.layout = layout or parallel.make_layout()
        self.watch = watchers or Watchers()
        self.workdir, chief = workdir, jax.process_index() == 0
        self.scores = Rows(workdir / "scores.jsonl", enabled=chief)
        self.timing = Rows(workdir / "timing.jsonl", enabled=chief)
        self.incidents = Incidents(
            workdir / "incidents.jsonl", log=self.watch.log, enabled=chief
        )
        self.under_way: deque[UnderWay] = deque()
        self.compiled: dict = {}
        self.prefetch: Prefetch | None = None
        self.tracing = False
        self.writers: Sequence[Any] = ()
        self.saved_at: int | None = None
        self.in_row = 0
        self.pruned = False
        self.started, self.elsewhere = time.monotonic(), 0.0
        self.trained_seconds = 0.0  # of training, up to the step settled last
        self.pace = LONG  # seconds of the step settled last

    # From start to end

    def go(self, allow_data_change: bool, start: Start | None) -> Outcome:
        fingerprint = getattr(self.task, "fingerprint", dict)()
        self.checkpoints = Checkpoints(
            self.workdir / "checkpoints",
            keep=self.options.keep,
            data=fingerprint,
            allow_data_change=allow_data_change,
            log=self.watch.log,
        )
        self.like = abstract_state(self.task, self.tx, self.options.seed, self.layout)
        with self._meanwhile("restoring"):
            notes = self._start(start)
        try:
            status, reason = self._train_or_stop(notes.get("row", {}))
        except Halted as halted:
            status, reason = "halted", str(halted)
            if not halted.whole:
                self.checkpoints.wait()
                return Outcome(status, self.step, self.state, self.scores.rows, reason)
        self._finish_saving()
        return Outcome(status, self.step, self.state, self.scores.rows, reason)

    def _start(self, start: Start | None) -> Mapping[str, Any]:
        """Restores or makes the state; rows after its step are dropped."""
        restored = self.checkpoints.restore(self.like)
        if restored is None:
            make = partial(init_state, self.task, self.tx, self.options.seed)
            shardings = jax.tree.map(lambda x: x.sharding, self.like)
            leaves = start(self.like.params) if start else {}
            self.state = jax.jit(make, out_shardings=shardings)(leaves)
            self.step = 0
            notes = {}
        else:
            self.state, self.step, notes = restored.state, restored.step, restored.notes
            self.saved_at = self.step
            self.watch.log(f"going on from the checkpoint of step {self.step}")
        self._cut_scores()
        self.incidents.start_from(self.step, int(self.state.counters["rollbacks"]))
        self.pending: dict[str, Any] = {}
        self.shown = (self.step, 0.0)
        self._protect_best()
        return notes

    def _cut_scores(self) -> None:
        """Drops the rows after this step, here and in the trackers."""
        self.scores.cut(self.step)
        if self.watch.progress:
            self.watch.progress.go_on_from(self.step)
        for writer in self.writers:
            writer.close()
        rows = self.scores.rows
        if jax.process_index() == 0:
            self.writers = self.watch.open_writers(rows[-1]["step"] + 1 if rows else 0)

    def _train_or_stop(self, row: Mapping[str, Any]) -> tuple[str, str]:
        try:
            self._row_of(self.step, row)
            return self._train(), ""
        except Interrupted:
            self._settle(0)
            return "preempted", "asked to stop"
        except Pruned as pruned:
            self._settle(0)
            return "pruned", str(pruned)

    def _train(self) -> str:
        """Makes the steps that are left."""
        self._read_counters()
        self._open_prefetch()
        self.dog.beat()
        while self.step < self.options.steps:
            if self._patience_is_over():
                return "stopped early"
            if self.stop.at(self.step):
                raise Interrupted
            self._trace()
            batch = self._next_batch()
            step = self._compiled(batch)
            self.state, scores = step(self.state, batch)
            self.step += 1
            self.under_way.append(UnderWay(self.step, scores, time.monotonic()))
            self.dog.beat()
            if self._is_looked_at(self.step):
                self._settle(0)
            elif self._has_run_ahead():
                self._settle(RUN_AHEAD)
            self._notice_failed_save()
            if self.watch.progress:
                self.watch.progress.update(self.step, None)
        return "stopped early" if self._patience_is_over() else "finished"

    def _is_due(self, step: int, every: int | None) -> bool:
        last = step == self.options.steps
        return last or (every is not None and step % every == 0)

    def _is_eval(self, step: int) -> bool:
        return step == 0 or self._is_due(step, self.options.eval_every)

    def _is_looked_at(self, step: int) -> bool:
        """Whether the state after a step is evaluated or saved before it goes on."""
        return self._is_eval(step) or self._is_due(step, self.options.save_every)

    def _has_run_ahead(self) -> bool:
        """Whether to wait for the devices: to wait for each short step would cost it.

        Several processes wait at the same steps, as they may have to turn back there.
        """
        oldest, count = self.under_way[0].since, len(self.under_way)
        late = max(time.monotonic() - oldest, count * self.pace) > LONG
        return late or count >= MANY or jax.process_count() > 1

    def _settle(self, ahead: int) -> None:
        """Waits until at most `ahead` steps are under way; deals with the others.

        The row of a step that is only logged is written here, some steps later, so that
        the devices need not stand still for it.
        """
        count = len(self.under_way) - ahead
        if count > 0:
            self.under_way[-1 - ahead].scores.numbers.block_until_ready()
            self.pace = (self._training_seconds() - self.trained_seconds) / count
        while len(self.under_way) > ahead:
            step, scores, _ = self.under_way.popleft()
            self.trained_seconds += self.pace  # of all waited for together
            found = scores.read()
            self._check_finite(step, int(found.pop("nonfinite")), found["loss"])
            if self._is_due(step, self.options.log_every) or self._is_eval(step):
                self._row_of(step, found)
            elif self._is_due(step, self.options.save_every):
                self._save({})

    # One row: log, save, evaluate, write

    def _row_of(self, step: int, trained: Mapping[str, Any]) -> None:
        """Writes the row of a step: what training gave, then what evaluation gives.

        The checkpoint of the step carries what training gave, so that a run killed
        while it evaluates can write the same row.
        """
        written = self.scores.rows and self.scores.rows[-1]["step"] == step
        if not written and (trained or self._is_eval(step)):
            self._write_row_of(step, trained)
        # also of a row that was written before this process: it may have died then
        factor, window = self.options.spike_factor, self.options.spike_window
        if factor and trained and is_spike(self.scores.rows, factor, window):
            self._roll_back(step)

    def _write_row_of(self, step: int, trained: Mapping[str, Any]) -> None:
        row = {"step": step, **trained}
        if step and self._is_due(step, self.options.save_every):
            self._save(trained)
        if self._is_eval(step):
            self.pending = dict(trained)
            row |= self._evaluate()
        # the trackers first: what they have and the file has not, they take back
        for writer in self.writers:
            writer.write(step, {k: v for k, v in row.items() if k != "step"})
        self.scores.append(row)
        self.pending = {}
        self._show(row)
        if self._protect_best() == step and self.saved_at != step:
            self._save(trained)
        self._judge(row)

    def _judge(self, row: Mapping[str, Any]) -> None:
        """Ends the run if who looks on says so, on all processes at the same row."""
        judge = self.watch.judge
        if judge is None or self.pruned:
            return
        why = judge(row) if jax.process_index() == 0 else ""
        self.pruned = bool(why)
        if jax.process_count() > 1:
            told = multihost_utils.broadcast_one_to_all(np.int32(self.pruned))
            self.pruned = bool(told)
        if self.pruned:
            raise Pruned(why or "process 0 says why")

    def _evaluate(self) -> dict[str, float]:
        params = evaluated_params(self.state)
        with self._meanwhile("evaluating"):
            with self.stop.interruptible():
                scores = self.task.evaluate(params, self.state.extras)
            return {name: float(value) for name, value in scores.items()}

    @contextlib.contextmanager
    def _meanwhile(self, phase: str) -> Generator[None]:
        """Does something other than training; it does not count for the speed."""
        before = time.monotonic()
        progress = self.watch.progress
        with self.dog.phase(phase), progress.pause() if progress else nullcontext():
            yield
        self.elsewhere += time.monotonic() - before

    def _training_seconds(self) -> float:
        return time.monotonic() - self.started - self.elsewhere

    def _show(self, row: Mapping[str, Any]) -> None:
        seconds, steps = time.monotonic() - self.started, row["step"] - self.shown[0]
        rate = steps / max(self.trained_seconds - self.shown[1], 1e-9)
        self.shown = (row["step"], self.trained_seconds)
        time_row = {"step": row["step"], "seconds": round(seconds, 3)}
        if steps > 0:
            time_row |= {"steps_per_second": round(rate, 3), "phase": "train"}
        self.timing.append(time_row)
        if self.watch.progress:
            numbers = {k: v for k, v in row.items() if k != "step"}
            self.watch.progress.update(self.step, numbers)

    # Saving

    def _save(self, trained: Mapping[str, Any]) -> None:
        """Starts a checkpoint; the rows before it are on the disk first."""
        if self.saved_at == self.step:
            return
        self.scores.sync()
        with self._meanwhile("saving"):
            try:
                self.checkpoints.save(self.step, self.state, {"row": dict(trained)})
            except SaveError as error:
                self._save_failed(error)
                return
        self.saved_at = self.step

    def _notice_failed_save(self) -> None:
        """Notices a save that failed in the background."""
        try:
            self.checkpoints.check()
        except SaveError as error:
            self._save_failed(error)

    def _save_failed(self, error: SaveError) -> None:
        if self.options.on_save_failure == "stop":
            raise error
        self.saved_at = None
        self.incidents.save_failed(self.step, error)

    def _finish_saving(self) -> None:
        """Saves the last state, unless it is saved, and waits until it is whole."""
        self._save(self.pending)
        with self._meanwhile("saving"):
            self.checkpoints.wait()
            if jax.process_index() == 0:
                self.checkpoints.prune()

    def _protect_best(self) -> int | None:
        """Keeps the checkpoint of the best evaluation; returns its step."""
        if self.options.best is None:
            return None
        best = best_of(self.scores.rows, self.options.best, self.options.best_mode)
        if best is None:
            last = self.scores.rows[-1] if self.scores.rows else {}
            if any("/" in name for name in last):
                names = ", ".join(name for name in last if name != "step")
                raise Refused(
                    f"best = {self.options.best!r} is no score; there are {names}"
                )
            return None
        self.checkpoints.protected = {best[0]}
        return best[0]

    def _patience_is_over(self) -> bool:
        if self.options.patience is None or self.options.best is None:
            return False
        best = best_of(self.scores.rows, self.options.best, self.options.best_mode)
        return best is not None and best[1] >= self.options.patience

    # What may go wrong

    def _check_finite(self, step: int, place: int, loss: float) -> None:
        """Notes a step that was not finite; `place` is that of its first culprit."""
        if place < 0:
            self.in_row = 0
            return
        self.in_row += 1
        what, number = culprits(self.like)[place], step - 1 + self.offset
        self.incidents.not_finite(step, what, loss, number, self.task.batch(number))
        if self.in_row > self.options.max_skips:
            self._unfreeze()
            raise Halted(
                f"step {step} is not finite, first in {what}, after "
                f"{self.in_row - 1} skipped before it (max_skips = "
                f"{self.options.max_skips}); the state is that of step {self.step}",
                whole=True,
            )

    def _unfreeze(self) -> None:
        """Makes a state that stopped itself one to go on from."""
        self.under_way.clear()
        zero = jax.tree.map(lambda x: x * 0, self.state.counters["skipped_in_row"])
        counters = self.state.counters | {"skipped_in_row": zero}
        self.state = self.state._replace(counters=counters)
        self.step = int(self.state.step)

    def _roll_back(self, spiked: int) -> None:
        """Goes back before a spike, and passes over the batches since."""
        counters = self.state.counters
        made = int(counters["rollbacks"]) + 1
        if made > self.options.max_rollbacks:
            raise Halted(
                f"the loss spiked at step {spiked}, after {made - 1} rollbacks",
                whole=False,
            )
        self.checkpoints.wait()
        before = spiked - self.options.log_every
        restored = self.checkpoints.restore(
            self.like, before=before, every=self.options.save_every
        )
        if restored is None:
            raise Halted(
                f"the loss spiked at step {spiked}, before any checkpoint", whole=False
            )
        self.checkpoints.roll_back(restored.step)
        offset = self.offset + spiked - restored.step
        plain = {"rollbacks": np.int32(made), "offset": np.int32(offset)}
        counters = restored.state.counters | parallel.place_whole(plain, self.layout)
        self.state = restored.state._replace(counters=counters)
        self.step = self.saved_at = restored.step
        self.under_way.clear()
        self._cut_scores()
        self.incidents.rolled_back(self.step, spiked)
        self._read_counters()
        self._open_prefetch()

    def _read_counters(self) -> None:
        counters = jax.device_get(self.state.counters)
        self.offset = int(counters["offset"])
        self.in_row = int(counters["skipped_in_row"])

    # Input, compilation, profile

    def _open_prefetch(self) -> None:
        if self.prefetch:
            self.prefetch.close()
        offset = self.offset
        self.prefetch = Prefetch(
            lambda step: parallel.place_batch(
                self.task.batch(step + offset), self.layout
            ),
            self.step,
            self.options.steps,
            depth=self.options.prefetch,
        )

    def _next_batch(self) -> Mapping[str, Any]:
        """Waits for the batch of this step; a signal ends the waiting."""
        if self.prefetch is None:
            raise RuntimeError("no batches are being made")
        with self.stop.interruptible():
            return self.prefetch.take(self.step)

    def _compiled(self, batch: Mapping[str, Any]) -> Any:
        """The step compiled for these shapes; most runs have one."""
        key = tuple((name, x.shape, x.dtype) for name, x in batch.items())
        if key not in self.compiled:
            with self._meanwhile("compiling"), self.stop.interruptible():
                made = compile_step(
                    self.task,
                    self.tx,
                    self.options,
                    self.layout,
                    self.like,
                    batch,
                    wrap=self.wrap,
                    schedules=self.watch.schedules,
                )
            self.compiled[key] = made
        return self.compiled[key]

    def _trace(self) -> None:
        if self.watch.profile is None:
            return
        first, last = self.watch.profile
        if self.step == first:
            jax.profiler.start_trace(str(self.workdir / "profile"))
            self.tracing = True
        elif self.step == last and self.tracing:
            self._end_trace()

    def _end_trace(self) -> None:
        jax.block_until_ready(self.state)
        jax.profiler.stop_trace()
        self.tracing = False
        self.watch.log(f"the profile lies in {self.workdir / 'profile'}")

    def close(self) -> None:
        """Ends threads and closes files."""
        if self.tracing:
            self._end_trace()
        if self.prefetch:
            self.prefetch.close()
        for rows in (self.scores, self.timing, self.incidents):
            rows.close()
        for writer in self.writers:
            writer.close()
        if self.watch.progress:
            self.watch.progress.close()
