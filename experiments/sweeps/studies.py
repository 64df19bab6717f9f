"""A sweep as a study of Optuna: made, joined, extended."""

import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from experiments import configs
from experiments.configs import ConfigError
from experiments.sweeps.definition import Sweep, draw
from experiments.sweeps.slots import CHOICE, SLOT, Limits, Slots
from kexue_jax.build import build

SWEEP = "sweep"
DIRECTIONS = {"min": "minimize", "max": "maximize"}


class Joined(NamedTuple):
    """A study that this process works at."""

    sweep: Sweep
    slots: Slots
    workdir: Path


def join(
    storage: Any,
    name: str,
    *,
    worker: str = "",
    workdir: Path | None = None,
    spec: str | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Joined:
    """Returns a study by its name, to work at it.

    Args:
      storage: a `Patient` one.
      name: of the study.
      worker: what people call this worker.
      workdir: stands for the directory that the study names.
      spec: the config; needed where it lies outside of ``configs``, as what a storage
        says is not trusted to name any file.
      log: takes lines for people.

    Raises:
      ConfigError: if there is none, or this checkout reads its config otherwise.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        known = [x.study_name for x in optuna.get_all_study_summaries(storage)]
        raise ConfigError(
            f"--study: there is no study {name!r} (there are "
            f"{', '.join(known) or 'none'})"
        ) from error
    attrs = study.user_attrs
    if SWEEP not in attrs:
        raise ConfigError(f"--study: {name!r} was not made by experiments.sweep")
    about = attrs[SWEEP]
    inside = (configs.ROOT / about["spec"].partition(":")[0]).resolve()
    if spec != about["spec"] and not inside.is_relative_to(configs.ROOT / "configs"):
        raise ConfigError(
            f"--study: {name!r} names {about['spec']}, which is outside of configs; if "
            "you trust it, say --config as well"
        )
    sweep = Sweep(about["spec"], about["data"], name=about["name"])
    if about["code"] != _digest(sweep):
        raise ConfigError(
            f"--study: {name!r} was made from another {about['spec']} than this "
            "checkout has; its points would be other runs"
        )
    slots = Slots(study, storage, Limits(**about["limits"]), worker=worker, log=log)
    return Joined(sweep, slots, workdir or Path(about["workdir"]))


def make(
    storage: Any,
    name: str,
    sweep: Sweep,
    limits: Limits,
    *,
    workdir: Path,
    log: Callable[[str], None] = lambda line: None,
) -> Joined:
    """Makes a study with a slot for each point, or goes on with one, or extends it.

    Raises:
      ConfigError: if the study has runs that the sweep does not have.
    """
    directions: Any = [DIRECTIONS[mode] for mode in sweep.objective.values()]
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        directions=directions or ["minimize"],
        load_if_exists=True,
    )
    about = {
        "spec": sweep.spec,
        "name": sweep.name,
        "data": sweep.data,
        "limits": limits._asdict(),
        "workdir": str(workdir.absolute()),
        "code": _digest(sweep),
    }
    slots = Slots(study, storage, limits, log=log)
    wanted = _trials(sweep)
    _check_extends(study.user_attrs.get(SWEEP), about, slots, wanted)
    study.set_user_attr(SWEEP, about)
    have = {trial.user_attrs.get(SLOT) for trial in slots.trials()}
    if "space" in sweep.data:
        new = [(number, fields) for number, fields in enumerate(wanted)]
    else:  # a grid may have grown anywhere: its points are known by their ids
        ids = {trial.user_attrs.get("id") for trial in slots.trials()}
        more = [x for x in wanted if x["user_attrs"]["id"] not in ids]
        new = list(zip(itertools.count(len(have)), more, strict=False))
    for number, fields in new:
        if number not in have:
            slots.add(number, **fields)
    return Joined(sweep, slots, workdir)


def _digest(sweep: Sweep) -> str:
    """A hash of what this checkout makes of a sweep's config."""
    point = sweep.resolve({})[0]
    return hashlib.sha256(point.id.encode()).hexdigest()[:12]


def _check_extends(
    before: Mapping | None, now: Mapping, slots: Slots, wanted: Sequence[Mapping]
) -> None:
    """Refuses a sweep that does not hold all of the study's."""
    if before is None:
        return
    old, new = before["data"], now["data"]
    name = slots.study.study_name
    hint = "use another --study for another sweep"
    if before["code"] != now["code"] or before["spec"] != now["spec"]:
        raise ConfigError(f"study {name!r} is of another config, {hint}")
    if "space" in new:
        grown = dict(old) | {"trials": new["trials"]}
        fits = grown == dict(new) and new["trials"] >= old.get("trials", 0)
    else:
        ids = {fields["user_attrs"]["id"] for fields in wanted}
        had = {t.user_attrs["id"] for t in slots.trials() if "id" in t.user_attrs}
        same = [k for k in ("objective", "pruner") if old.get(k) != new.get(k)]
        fits = "space" not in old and had <= ids and not same
    if not fits:
        raise ConfigError(
            f"study {name!r} holds another sweep, {json.dumps(old)}; {hint}. A study "
            "may only gain points or trials"
        )


def _trials(sweep: Sweep) -> list[dict[str, Any]]:
    """What the first trial of each slot is made of."""
    if "space" not in sweep.data:
        return _fixed([(point.id, point.named()) for point in sweep.points()])
    sampler = make_sampler(sweep, 0)
    if isinstance(sampler, optuna.samplers.RandomSampler | optuna.samplers.QMCSampler):
        study = optuna.create_study(sampler=sampler)
        choices = []
        for _ in range(sweep.trials):
            trial = study.ask()
            choices.append((draw(sweep, suggester(trial)), trial))
            study.tell(trial, 0.0)
        return [
            {
                "params": trial.params,
                "distributions": trial.distributions,
                "user_attrs": {CHOICE: choice, "id": sweep.resolve(choice)[0].id},
            }
            for choice, trial in choices
        ]
    return [{} for _ in range(sweep.trials)]


def _fixed(points: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Points as trials whose parameters are known."""
    values: dict[str, list] = {}
    for _, choice in points:
        for path, value in choice.items():
            values.setdefault(path, []).append(value)
    axes = {path: _axis(given) for path, given in values.items()}
    return [
        {
            "params": {p: _stored(axes[p], v) for p, v in choice.items()},
            "distributions": {p: distribution(axes[p]) for p in choice},
            "user_attrs": {CHOICE: dict(choice), "id": key},
        }
        for key, choice in points
    ]


def _axis(values: Sequence[Any]) -> dict[str, Any]:
    """The axis of a space that has these values."""
    if all(type(value) in (int, float) for value in values):
        return {"low": min(values), "high": max(values)}
    return {"choices": list({json.dumps(value): value for value in values}.values())}


def distribution(axis: Mapping[str, Any]) -> BaseDistribution:
    """Returns an axis of a space as Optuna has it."""
    if "choices" in axis:
        return CategoricalDistribution([_stored(axis, x) for x in axis["choices"]])
    kind = IntDistribution if _is_whole(axis) else FloatDistribution
    return kind(axis["low"], axis["high"], **_scale(axis))


def suggester(trial: optuna.Trial) -> Callable[[str, Mapping[str, Any]], Any]:
    """Returns what draws a value for a path and its axis from a trial."""

    def suggest(path: str, axis: Mapping[str, Any]) -> Any:
        if "choices" in axis:
            stored = [_stored(axis, value) for value in axis["choices"]]
            found = trial.suggest_categorical(path, stored)
            place = [repr(x) for x in stored].index(repr(found))
            return list(axis["choices"])[place]
        suggest = trial.suggest_int if _is_whole(axis) else trial.suggest_float
        return suggest(path, axis["low"], axis["high"], **_scale(axis))

    return suggest


def _is_whole(axis: Mapping[str, Any]) -> bool:
    return type(axis["low"]) is type(axis["high"]) is int


def _scale(axis: Mapping[str, Any]) -> dict[str, Any]:
    return {key: axis[key] for key in ("log", "step") if key in axis}


def _stored(axis: Mapping[str, Any], value: Any) -> Any:
    """A value as Optuna keeps it: it knows no lists."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return value if plain or "choices" not in axis else json.dumps(value)


def make_sampler(sweep: Sweep, slot: int) -> Any:
    """Returns a sweep's sampler for a slot, whose randomness the slot decides.

    A sampler with the sweep's seed in each of several workers would draw the same
    numbers in all of them.
    """
    return _made(sweep, "sampler", sweep.sampler, seed=sweep.seed * 1_000_003 + slot)


def make_pruner(sweep: Sweep) -> Any:
    """Returns a sweep's pruner, one that never prunes by default."""
    plain = {"make": "optuna.pruners:NopPruner"}
    return _made(sweep, "pruner", sweep.data.get("pruner", plain))


def _made(sweep: Sweep, field: str, data: Mapping[str, Any], **more: Any) -> Any:
    where = f"sweep {sweep.name}: {field}"
    try:
        kind: Any = build({"bind": data["make"]}, where=where, allow=("optuna",))
        taken = inspect.signature(kind).parameters
        more = {key: value for key, value in more.items() if key in taken}
        return build(dict(data) | more, where=where, allow=("optuna",))
    except (ImportError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error
