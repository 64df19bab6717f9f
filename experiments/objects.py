"""From a config to the objects that it names."""

import dataclasses
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optax

from experiments.configs import ConfigError, Experiment
from kexue_jax.build import BuildError, build, nearest
from kexue_jax.train import parallel
from kexue_jax.train.options import Options


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
    own |= {"init_from", "init_partial"}
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
