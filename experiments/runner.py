"""From a config to a finished run directory; imported by every command."""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.configs import (
    ROOT,
    ConfigError,
    Experiment,
    config_changes,
    defaults,
    describe,
    load_config,
    plain,
)
from experiments.objects import Objects, make_objects
from experiments.provenance import names_in
from kexue_jax.build import BuildError, build
from kexue_jax.train import report
from kexue_jax.train.checkpoint import (
    CheckpointError,
    Checkpoints,
    write_atomically,
)
from kexue_jax.train.compiled import abstract_state
from kexue_jax.train.lock import Locked, WorkdirLock
from kexue_jax.train.loop import Outcome, Watchers, evaluated_params, fit
from kexue_jax.train.options import Options, best_of
from kexue_jax.train.progress import Progress
from kexue_jax.train.rows import read_rows
from kexue_jax.train.step import Refused


def environment(experiment: Experiment, command: Sequence[str]) -> dict[str, Any]:
    """Returns what a number depends on beside the config: versions, devices, commit."""
    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "ml-collections")
    devices = jax.devices()
    return {
        "command": shlex.join(command),
        "seed": experiment.config.seed,
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in (*packages, "numpy")},
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "devices": len(devices),
        "processes": jax.process_count(),
        "cores": os.cpu_count(),
        "machine": platform.platform(),
        **_commit(),
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _commit() -> dict[str, Any]:
    """The commit of the code, and whether files differ from it."""

    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(ROOT), *words],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        commit = git("rev-parse", "HEAD")
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    except OSError:  # no git on this machine
        commit = None
    return {"commit": commit, "changed": changed} if commit else {"commit": None}


def claim_workdir(
    workdir: Path,
    experiment: Experiment,
    *,
    allow_data_change: bool = False,
    allow_config_change: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Writes the config of a run, or refuses to go on with another one."""
    path, config = workdir / "config.json", plain(experiment.config)
    if path.exists():
        before = _read(path, "config")["config"]
        if not isinstance(before, dict):
            raise ConfigError(f"{path} is damaged: its config is no section")
        changes = config_changes(before, config, allow_data_change=allow_data_change)
        if changes and not allow_config_change:
            lines = "\n  ".join(changes)
            raise ConfigError(
                f"{workdir} holds a run of another config:\n  {lines}\n"
                "Use another --workdir, or --allow_config_change to go on all the same."
            )
        for line in changes:
            log(f"going on with a changed config: {line}")
    origin = {"file": experiment.file, "variant": experiment.variant}
    write_atomically(
        path, json.dumps({"origin": origin, "config": config}, indent=1) + "\n"
    )


def _read(path: Path, *fields: str) -> dict[str, Any]:
    """Returns a JSON file of the run directory that has these fields."""
    try:
        found = json.loads(path.read_text("utf-8"))
        lacking = [name for name in fields if name not in found]
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path} is damaged: {error}") from error
    if lacking or not isinstance(found, dict):
        raise ConfigError(f"{path} is damaged: it lacks {', '.join(fields)}")
    return found


def _check_restarts(workdir: Path) -> None:
    """Refuses a third restart into what has halted the run and two restarts."""
    path = workdir / "restarts.json"
    if path.exists():
        halts = _read(path, "step", "count", "reason")
        if halts["count"] > 2:
            raise CrashLoop(
                f"{workdir} has halted {halts['count']} times at step {halts['step']}: "
                f"{halts['reason']}\nMend the cause and delete {path} to try again."
            )


class CrashLoop(RuntimeError):
    """A run has halted at the same step too often to be started again."""


def _count_halt(workdir: Path, outcome: Outcome, max_skips: int) -> None:
    """Counts the halts in a row between which no update was made.

    Skipped updates count as steps, so each restart may halt `max_skips` steps later.
    """
    path, count = workdir / "restarts.json", 1
    if path.exists():
        before = _read(path, "step", "count")
        count += before["count"] if outcome.step <= before["step"] + max_skips else 0
    halt = {"step": outcome.step, "count": count, "reason": outcome.reason}
    write_atomically(path, json.dumps(halt))


def default_workdir(experiment: Experiment, changes: Sequence[str] = ()) -> Path:
    """Returns ``runs/<name>/<variant>``, with a hash where entries were overridden."""
    name = experiment.variant or "default"
    if changes:
        digest = hashlib.sha256("\n".join(sorted(changes)).encode()).hexdigest()[:8]
        name += f"-{digest}"
    return Path("runs") / experiment.name / name


def run(
    experiment: Experiment,
    workdir: Path,
    *,
    command: Sequence[str] = (),
    log: Callable[[str], None] | None = None,
    progress: bool = True,
    profile: tuple[int, int] | None = None,
    judge: Callable[[Mapping[str, Any]], str] | None = None,
    make: Callable[[Experiment], Objects] = make_objects,
    allow_data_change: bool = False,
    allow_config_change: bool = False,
) -> Outcome:
    """Runs an experiment to its end in `workdir`, from where it was left.

    The directory's ``status.json`` says how it ended and why, also if by an exception;
    what is refused in a directory that has one changes nothing there.

    Args:
      experiment: from `load_config`.
      workdir: the run directory; made if need be.
      command: what a person would type to get this run; for the record.
      log: takes lines for people; default standard error.
      progress: shows a progress line.
      profile: first and last step of a trace.
      judge: takes each row and says why the run should end there, or nothing.
      make: builds what the config names.
      allow_data_change, allow_config_change: go on although they have changed.

    Returns:
      How the run ended. A finished run that is run again is only reported again.

    Raises:
      ConfigError, BuildError, CheckpointError: the run cannot start, and why.
      Locked: another process has the directory.
      CrashLoop: it has halted at the same step too often.
      SaveError, OSError: nothing can be written.
    """
    workdir, chief = Path(workdir).absolute(), jax.process_index() == 0
    log = log or (lambda line: print(line, file=sys.stderr, flush=True))
    said = log if chief else (lambda line: None)
    with contextlib.ExitStack() as stack:
        problem, lock = None, WorkdirLock(workdir)
        if chief:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock)
            except (OSError, Locked) as error:
                problem = error
        _agree(problem)
        try:
            outcome = _run(
                experiment,
                workdir,
                command,
                said,
                progress,
                profile,
                judge,
                make,
                allow_data_change,
                allow_config_change,
            )
        except Exception as error:
            if chief and lock.is_there():
                _note_failure(workdir, error)
            raise
        if chief:
            _note_status(workdir, outcome.status, outcome.step, outcome.reason)
        return outcome


def _note_status(workdir: Path, status: str, step: int | None, reason: str) -> None:
    """Writes how a run ended into its directory."""
    note = {"status": status, "step": step, "reason": reason}
    write_atomically(workdir / "status.json", json.dumps(note, indent=1) + "\n")


def _note_failure(workdir: Path, error: Exception) -> None:
    """As `_note_status`, where the disk may be full or the directory gone."""
    refusals = (ConfigError, BuildError, CheckpointError, Refused, CrashLoop)
    if isinstance(error, refusals) and (workdir / "status.json").exists():
        return
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", ()))
    reason = f"{type(error).__name__}: {error}{notes}"
    with contextlib.suppress(OSError):
        _note_status(workdir, "failed", None, reason)


def _agree(problem: Exception | None) -> None:
    """Raises what process 0 found, on all processes, so that none waits for it."""
    kind = 0 if problem is None else 2 if isinstance(problem, Locked) else 1
    if jax.process_count() > 1:
        kind = int(multihost_utils.broadcast_one_to_all(np.int32(kind)))
    if problem is not None:
        raise problem
    if kind:
        refused = "process 0 refused the run and says why"
        raise Locked(refused) if kind == 2 else ConfigError(refused)


def _run(
    experiment,
    workdir,
    command,
    log,
    show,
    profile,
    judge,
    make,
    allow_data_change,
    allow_config,
) -> Outcome:
    chief = jax.process_index() == 0
    objects = make(experiment)
    stored, problem = workdir / "config.json", None
    if chief:
        try:
            before = stored.read_text("utf-8") if stored.exists() else None
            claim_workdir(
                workdir,
                experiment,
                allow_data_change=allow_data_change,
                allow_config_change=allow_config,
                log=log,
            )
            _check_restarts(workdir)
            about = environment(experiment, command)
            write_atomically(
                workdir / "environment.json", json.dumps(about, indent=1) + "\n"
            )
        except (ConfigError, CrashLoop, OSError) as error:
            problem = error
    _agree(problem)
    bar = Progress(objects.options.steps, enabled=show and chief)
    watchers = Watchers(
        open_writers=_open_writers(experiment, workdir),
        progress=bar,
        log=bar.line if show else log,
        schedules=objects.schedules,
        profile=profile,
        judge=judge,
    )
    try:
        outcome = fit(
            objects.task,
            objects.tx,
            objects.options,
            workdir=workdir,
            layout=objects.layout,
            wrap=objects.wrap,
            watchers=watchers,
            start=_start_of(experiment, objects.task, log),
            allow_data_change=allow_data_change,
        )
    except (CheckpointError, ConfigError):  # the directory stays what it was
        if chief and before is not None:
            write_atomically(stored, before)
        elif chief:
            stored.unlink(missing_ok=True)
        raise
    if chief and outcome.status == "halted":
        _count_halt(workdir, outcome, objects.options.max_skips)
    if outcome.status in ("finished", "stopped early"):
        _conclude(experiment, objects, workdir, outcome, command, watchers)
    return outcome


def _open_writers(experiment: Experiment, workdir: Path) -> Callable[[int], list]:
    """Returns what opens the trackers that a config names, from a step on."""
    section = experiment.config.writers.to_dict()
    made = build(section, where="config.writers", allow=experiment.allow)
    return lambda step: [
        make(workdir=workdir, start_step=step) for make in made.values()
    ]


def _conclude(experiment, objects, workdir, outcome, command, watchers) -> None:
    """Shows what the task can show, writes the scores in full and the report."""
    exhibits = getattr(objects.task, "exhibits", None)
    shown = ()
    if exhibits is not None:
        shown = exhibits(evaluated_params(outcome.state), outcome.state.extras)
    if jax.process_index():
        return
    for writer in watchers.open_writers(outcome.step + 1):
        if hasattr(writer, "show"):
            writer.show(outcome.step, shown)
        writer.close()
    result = {
        "status": outcome.status,
        "step": outcome.step,
        "scores": final_scores(outcome.rows, objects.options),
    }
    write_atomically(workdir / "result.json", json.dumps(result, indent=1) + "\n")
    write_report(experiment, workdir, shown, command)
    watchers.log(f"{outcome.status} at step {outcome.step}: {workdir / 'report.html'}")


def final_scores(rows: Sequence[Mapping], options: Options) -> dict[str, Any]:
    """Returns a run's scores: of its best evaluation if it names one, or the last."""
    evaluated = [row for row in rows if any("/" in name for name in row)]
    if options.best is not None:
        best = best_of(rows, options.best, options.best_mode)
        evaluated = [row for row in evaluated if best and row["step"] == best[0]]
    last = rows[-1] if rows else {}
    trained = {name: value for name, value in last.items() if "/" not in name}
    return trained | dict(evaluated[-1] if evaluated else {})


def write_report(experiment, workdir, exhibits, command) -> Path:
    """Writes the report of a run from its directory and what its task shows."""
    about = describe(experiment)
    return report.write_report(
        workdir,
        title=about["title"],
        claim=about.get("claim", ""),
        source=about.get("source", ""),
        command=shlex.join(command),
        verdict=recorded_verdict(experiment),
        exhibits=exhibits,
    )


def recorded_verdict(experiment: Experiment) -> Any:
    """Returns what `experiments.check` last found of a config's claim, if it ran."""
    path = ROOT / "docs" / "results" / f"{experiment.name}.json"
    if experiment.module is None or not path.is_file():
        return None
    found = json.loads(path.read_text("utf-8"))
    return report.Verdict(found["verdict"], found["summary"], found.get("parts", {}))


def _start_of(
    experiment: Experiment, task: Any, log: Callable[[str], None]
) -> Callable[[Any], Mapping[str, np.ndarray]] | None:
    """What takes parameters from the files or the run that ``init_from`` names."""
    config = experiment.config
    if config.init_from is None:
        if config.init_partial is not None:
            raise ConfigError(
                "config.init_partial is of config.init_from, which is None"
            )
        return None
    from kexue_jax.pretrained import WeightsError

    path, partial = Path(config.init_from), bool(config.init_partial)
    # The other run may name what this one names, if this one is not from elsewhere.
    named = names_in(plain(config)) if experiment.trusted else ()
    trust = sorted({name.partition(":")[0].partition(".")[0] for name in named})

    def start(shapes):
        try:
            found = _found(shapes, task, path, partial=partial, trust=trust)
        except (OSError, ValueError) as error:
            fits = not isinstance(error, WeightsError) or partial
            hint = "" if fits else "\nconfig.init_partial=True takes what there is."
            raise ConfigError(f"config.init_from = {path}: {error}{hint}") from error
        log(f"beginning with the parameters of {path}: {found.text}")
        return found.leaves

    return start


def _found(
    shapes: Any, task: Any, path: Path, *, partial: bool, trust: Sequence[str]
) -> Any:
    from kexue_jax.pretrained import load_pretrained, starting

    if starting.is_pretrained(path):
        return starting.started(shapes, load_pretrained(path=path), partial=partial)
    if not (path / "config.json").is_file():
        raise FileNotFoundError(
            "there is neither a run nor a pretrained model, which has a config.json "
            "and weights"
        )
    other = load(path, trust=trust)
    ours, theirs = _pieces_of(task), _pieces_of(other.task)
    pieces = None if ours is None or theirs is None else (ours, theirs)
    return starting.started_from_arrays(
        shapes, other.params, partial=partial, pieces=pieces
    )


def _pieces_of(task: Any) -> list[str] | None:
    """What the tokens of a task stand for, or None if it does not say so."""
    tokenizer = getattr(task, "tokenizer", None)
    if not hasattr(tokenizer, "pieces") or not hasattr(tokenizer, "vocabulary"):
        return None
    return tokenizer.pieces(range(tokenizer.vocabulary))


# A finished run, for people and other programs


class Loaded(NamedTuple):
    """A run read back: its task, and the parameters and extras of one checkpoint."""

    task: Any
    params: Any
    extras: Any
    step: int
    experiment: Experiment

    def predict(self, inputs: Any) -> Any:
        """Returns what the task predicts for inputs."""
        if not hasattr(self.task, "predict"):
            raise TypeError(f"{type(self.task).__name__} predicts nothing")
        return self.task.predict(self.params, self.extras, inputs)


def load(
    workdir: Path, *, step: int | None = None, trust: Sequence[str] = ()
) -> Loaded:
    """Returns a run from its directory, at its best checkpoint, its last or a step.

    Args:
      workdir: the run directory.
      step: of the checkpoint; default the best, if the run names a score, or the last.
      trust: packages that its config may name beside our own.

    Raises:
      ConfigError, BuildError: if its config cannot be used.
      CheckpointError: if the checkpoint is damaged or does not fit the code.
    """
    workdir = Path(workdir)
    experiment = load_config(str(workdir / "config.json"))
    experiment = experiment._replace(trust=tuple(trust))
    experiment.config.mesh = defaults().mesh  # of this machine, not of the run's
    experiment.config.mesh.data = 1
    objects = make_objects(experiment)
    options, checkpoints = objects.options, Checkpoints(workdir / "checkpoints")
    if step is None:
        rows, steps = read_rows(workdir / "scores.jsonl"), checkpoints.steps()
        if not steps:
            raise CheckpointError(f"{workdir} holds no checkpoint")
        best = best_of(rows, options.best, options.best_mode) if options.best else None
        step = best[0] if best and best[0] in steps else steps[-1]
    like = abstract_state(objects.task, objects.tx, options.seed, objects.layout)
    checkpoints.verify(step, like)
    state = checkpoints.read(step, like).state
    return Loaded(objects.task, evaluated_params(state), state.extras, step, experiment)
