"""From a config to a finished run directory; imported by every command."""

import contextlib
import dataclasses
import hashlib
import importlib.util
import inspect
import json
import os
import platform
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from kexue_jax.build import TRUSTED, BuildError, build, nearest
from kexue_jax.train import parallel, report
from kexue_jax.train.checkpoint import (
    CheckpointError,
    Checkpoints,
    write_atomically,
)
from kexue_jax.train.lock import Locked, WorkdirLock
from kexue_jax.train.loop import (
    Options,
    Outcome,
    Watchers,
    abstract_state,
    best_of,
    evaluated_params,
    fit,
)
from kexue_jax.train.progress import Progress
from kexue_jax.train.rows import read_rows

ROOT = Path(__file__).resolve().parent.parent

FREE = ("mesh", "writers", "prefetch", "hang_seconds", "keep", "on_save_failure")
"""What a run may change when it goes on: it moves no number."""

DATA = ("source", "held_out")
"""Entries of a config that say what the data are."""

_OPTIONAL = {"eval_every": int, "patience": int, "best": str, "spike_factor": float}


class ConfigError(ValueError):
    """A config cannot be used; the message says which entry and what was expected."""


class Experiment(NamedTuple):
    """A config and where it came from.

    `trusted` is false for one read from a run directory, which may name only packages
    of an allow-list, and of `trust`.
    """

    config: ConfigDict
    file: str
    variant: str
    module: ModuleType | None
    trusted: bool
    trust: tuple[str, ...] = ()

    @property
    def allow(self) -> tuple[str, ...] | None:
        """The packages that it may name, or None for all."""
        return None if self.trusted else (*TRUSTED, *self.trust)

    @property
    def name(self) -> str:
        """The config's place below ``configs``, such as ``text/docs_model``."""
        path = Path(self.file).with_suffix("")
        parts = path.parts
        if "configs" in parts:
            start = len(parts) - 1 - parts[::-1].index("configs")
            return "/".join(parts[start + 1 :])
        return path.name


# Configs


def defaults() -> ConfigDict:
    """Returns the loop's own fields, which are laid under every config."""
    config = ConfigDict()
    for field in dataclasses.fields(Options):
        if field.default is None:
            config[field.name] = placeholder(_OPTIONAL[field.name])
        elif field.default is not dataclasses.MISSING:
            config[field.name] = field.default
    mesh = inspect.signature(parallel.make_layout).parameters
    config.mesh = {k: p.default for k, p in mesh.items() if k != "devices"}
    config.wrap = {"order": ()}
    config.writers = {"tensorboard": {"bind": "kexue_jax.train.writers:TensorBoard"}}
    config.optimizer = {"make": "optax:identity"}
    return config


def _lay_under(config: ConfigDict, under: ConfigDict) -> ConfigDict:
    """Adds what `config` lacks; an optional field keeps its type."""
    with config.unlocked():
        for key in under:
            value = under.get_oneway_ref(key) if under.get(key) is None else under[key]
            if key not in config:
                config[key] = value
            elif under.get(key) is None and not isinstance(config[key], ConfigDict):
                given = config[key]
                config[key] = placeholder(under.get_type(key))
                if given is not None:
                    config[key] = given
            elif key == "mesh":
                _lay_under(config[key], under[key])
    return config


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--config: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _tuples(data: Any) -> Any:
    """Lists, which JSON has, as the tuples that they were."""
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(map(_tuples, data)) if isinstance(data, list) else data


def load_config(spec: str, *, smoke: bool = False) -> Experiment:
    """Returns the experiment that ``path.py[:variant]`` or a ``config.json`` names.

    Args:
      spec: a config file and, after a colon, one of its variants; or the
        ``config.json`` of a run directory, or that directory.
      smoke: lays the file's ``SMOKE`` over it.

    Raises:
      ConfigError: if there is no such file or variant, or a run's config is not whole.
    """
    file, _, variant = spec.partition(":")
    path = Path(file)
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    if not path.is_file() and (ROOT / file).is_file():
        path = ROOT / file
    if not path.is_file():
        known = sorted(p.relative_to(ROOT).as_posix() for p in _config_files())
        raise ConfigError(f"--config: there is no {file}{nearest(file, known)}")
    if path.suffix == ".json":
        return _load_run_config(path)
    module = _load_module(path)
    variants = getattr(module, "VARIANTS", ())
    if variant and variant not in variants:
        raise ConfigError(
            f"--config: {file} has no variant {variant!r}{nearest(variant, variants)} "
            f"(it has {', '.join(variants) or 'none'})"
        )
    variant = variant or (variants[0] if variants else "")
    config = module.get_config(variant) if variant else module.get_config()
    config = _lay_under(config, defaults())
    if smoke:
        override(config, getattr(module, "SMOKE", {}))
    try:
        name = path.resolve().relative_to(ROOT).as_posix()
    except ValueError:
        name = str(path)
    return Experiment(config, name, variant, module, True)


def _config_files() -> list[Path]:
    return [p for p in (ROOT / "configs").rglob("*.py") if p.name != "__init__.py"]


def _load_run_config(path: Path) -> Experiment:
    try:
        stored = json.loads(path.read_text("utf-8"))
        origin, data = dict(stored["origin"]), _tuples(stored["config"])
        config = _lay_under(ConfigDict(data), defaults())
    except RecursionError:
        raise ConfigError(f"--config: {path} is no config: it nests too deep") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"--config: {path} is no whole config: {error!r}") from error
    module, file = None, str(origin.get("file", path))
    own = (ROOT / file).resolve()
    if own.suffix == ".py" and own.is_file() and own.is_relative_to(ROOT / "configs"):
        module = _load_module(own)
    return Experiment(config, file, str(origin.get("variant", "")), module, False)


def override(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Sets entries by their dotted paths.

    Raises:
      ConfigError: if there is no such entry, or it is of another type.
    """
    for path, value in changes.items():
        entry = config
        *parents, last = path.split(".")
        known = flat(config)
        try:
            for name in parents:
                entry = entry[name]
            if last not in entry:
                raise KeyError(last)
            entry[last] = value
        except (KeyError, AttributeError, TypeError) as error:
            if path in known:
                kind = type(known[path]).__name__
                raise ConfigError(
                    f"config.{path} is of type {kind}, got {value!r}"
                ) from error
            raise ConfigError(
                f"there is no config.{path}{nearest(path, list(known))}"
            ) from error


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns every entry of a nested config by its dotted path."""
    if isinstance(config, ConfigDict):
        config = {key: config[key] for key in config}
    if not isinstance(config, dict):
        return {prefix: config}
    found = {}
    for key in config:
        found |= flat(config[key], f"{prefix}.{key}" if prefix else str(key))
    return found


def plain(config: ConfigDict) -> dict[str, Any]:
    """Returns a config as nested dicts that JSON can hold."""
    return json.loads(json.dumps(config.to_dict()))


def config_hash(config: ConfigDict) -> str:
    """Returns a short hash of a resolved config."""
    text = json.dumps(plain(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# Objects


class Objects(NamedTuple):
    """What a config names, built."""

    task: Any
    tx: optax.GradientTransformation
    options: Options
    layout: parallel.Layout
    wrap: Sequence[Callable]
    schedules: Mapping[str, Callable]


def _ordered(section: Mapping[str, Any], where: str) -> list[Any]:
    order = section["order"]
    named = set(section) - {"order"}
    if set(order) != named:
        raise ConfigError(
            f"{where}.order = {tuple(order)} must name each of {sorted(named)} once"
        )
    return [section[name] for name in order]


def _schedules(built: Any, where: str = "") -> dict[str, Callable]:
    """The learning rates of an optimizer's config, as functions of the step."""
    found = {}
    if isinstance(built, Mapping):
        for key, value in built.items():
            path = f"{where}.{key}" if where else key
            if key == "learning_rate" and not isinstance(value, Mapping):
                found[path] = lambda step, rate=value: rate
            elif key == "learning_rate":
                found[path] = value
            else:
                found |= _schedules(value, path)
    return found


def make_objects(experiment: Experiment) -> Objects:
    """Builds everything that a config names.

    Raises:
      BuildError: if a name leads nowhere or its arguments do not fit.
      ConfigError: if the loop's own fields do not, or what is built refuses a value.
    """
    try:
        return _make_objects(experiment)
    except (BuildError, ConfigError):
        raise
    except (TypeError, ValueError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
        raise ConfigError(
            f"{error}{notes}\n  (in {Path(where.filename).name}:{where.lineno})"
        ) from error


def _make_objects(experiment: Experiment) -> Objects:
    config = experiment.config.to_dict()
    allow = experiment.allow
    names = [field.name for field in dataclasses.fields(Options)]
    lacking = [name for name in ("steps", "task") if name not in config]
    if lacking:
        raise ConfigError(f"the config lacks {', '.join(lacking)}")
    own = {*names, "mesh", "wrap", "writers", "optimizer", "task"}
    for name in sorted(set(config) - own):
        raise ConfigError(f"config.{name} is no field of the loop{nearest(name, own)}")
    options = Options(**{name: config[name] for name in names})
    layout = parallel.make_layout(**config["mesh"])
    wrap = build(config["wrap"], where="config.wrap", allow=allow)
    rates = _schedules(config["optimizer"])
    schedules = {}
    for path, rate in rates.items():
        name = "learning_rate" if len(rates) == 1 else path
        made = build(rate, where=f"config.optimizer.{path}", allow=allow)
        schedules[name] = made
        if not callable(made):
            schedules[name] = optax.constant_schedule(made)
    return Objects(
        build(config["task"], where="config.task", allow=allow),
        build(config["optimizer"], where="config.optimizer", allow=allow),
        options,
        layout,
        _ordered(wrap, "config.wrap"),
        schedules,
    )


# The run directory


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


def config_changes(
    before: Mapping[str, Any], now: Mapping[str, Any], *, allow_data_change: bool
) -> list[str]:
    """Returns the entries, by path, that differ and move a number."""
    missing = object()
    old, new = flat(dict(before)), flat(dict(now))
    lines = []
    for path in sorted(old.keys() | new.keys()):
        parts = path.split(".")
        if parts[0] in FREE or (allow_data_change and set(DATA) & set(parts)):
            continue
        was, becomes = old.get(path, missing), new.get(path, missing)
        if repr(was) != repr(becomes):  # by repr, as nan differs from itself
            show = lambda x: "absent" if x is missing else repr(x)  # noqa: E731
            lines.append(f"config.{path}: {show(was)} before, {show(becomes)} now")
    return lines


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
    allow_data_change: bool = False,
    allow_config_change: bool = False,
) -> Outcome:
    """Runs an experiment to its end in `workdir`, from where it was left.

    Args:
      experiment: from `load_config`.
      workdir: the run directory; made if need be.
      command: what a person would type to get this run; for the record.
      log: takes lines for people; default standard error.
      progress: shows a progress line.
      profile: first and last step of a trace.
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
        problem = None
        if chief:
            try:
                workdir.mkdir(parents=True, exist_ok=True)
                stack.enter_context(WorkdirLock(workdir))
            except (OSError, Locked) as error:
                problem = error
        _agree(problem)
        return _run(
            experiment,
            workdir,
            command,
            said,
            progress,
            profile,
            allow_data_change,
            allow_config_change,
        )


def _agree(problem: Exception | None) -> None:
    """Raises what process 0 found, on all processes, so that none waits for it."""
    failed = problem is not None
    if jax.process_count() > 1:
        failed = bool(multihost_utils.broadcast_one_to_all(np.int32(failed)))
    if problem is not None:
        raise problem
    if failed:
        raise ConfigError("process 0 refused the run and says why")


def _run(
    experiment, workdir, command, log, show, profile, allow_data_change, allow_config
) -> Outcome:
    chief = jax.process_index() == 0
    objects = make_objects(experiment)
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
            allow_data_change=allow_data_change,
        )
    except CheckpointError:  # the directory stays a run of the config that it was
        if chief and before is not None:
            write_atomically(stored, before)
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


def describe(experiment: Experiment) -> dict[str, str]:
    """Returns title, claim, limits, source, run and cost from a config's docstring."""
    text = inspect.cleandoc(getattr(experiment.module, "__doc__", None) or "")
    title, _, rest = text.partition("\n")
    found, key = {"title": title.strip() or experiment.name}, ""
    for line in rest.splitlines():
        word, colon, tail = line.partition(":")
        if colon and word in ("Claim", "Limits", "Source", "Run", "Cost"):
            key = word.lower()
            found[key] = tail.strip()
        elif key and (line.startswith(" ") or not line.strip()):
            found[key] = f"{found[key]} {line.strip()}".strip()
        else:
            key = ""
    if "claim" in found:
        found["claim"] = found["claim"][:1].upper() + found["claim"][1:]
    return found


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
