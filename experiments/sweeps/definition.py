"""A sweep as data: a list, a grid or a search space of overrides of one config.

A sweep is a dict, in ``SWEEPS`` of the config's own file or of another Python file, or
in a JSON file. Its entries:

``list``
    A sequence of dicts of overrides, each by its dotted path.
``grid``
    A dict from paths to what each may be: a sequence of values, or
    ``dict(values=..., when=...)``. With a ``list``, each of its entries is combined
    with each point of the grid.
``space``
    A dict from paths to ``dict(low=, high=, log=, step=)`` (of ints if both bounds are)
    or ``dict(choices=)``; and ``trials``, how many points to draw. ``sampler`` makes
    what draws them, ``optuna.samplers:TPESampler`` by default; ``seed`` is its seed.
``seeds``
    The seeds of every point: runs of their own for a list or a grid, parts of one trial
    for a space, whose score is their mean.
``objective``
    A dict from a score's name to ``min`` or ``max``; a space needs one, or several.
``pruner``
    Makes what stops a trial that does worse than others did at its step.
``together``
    Paths: ``seed``, and scalars of the optimizer. Runs that differ in nothing else are
    made side by side in one program, ``lanes`` (8) at most.
``code``, ``smoke``
    True lets ids depend on the code that a config names as well; or lays the config's
    ``SMOKE`` under the overrides.

The path ``variant`` stands for a variant of the config. Values that are long, such as
the sections of several optimizers, have names: a dict from name to value in place of
the sequence of ``values`` or ``choices``. An axis with ``when``, a dict from paths that
stand before it to the values they must have, is there only then.
"""

import copy
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments import configs
from experiments.configs import ConfigError, Experiment
from experiments.provenance import House, names_in
from kexue_jax.build import nearest

FIELDS = ("list", "grid", "space", "trials", "sampler", "seed", "seeds", "objective")
FIELDS = (*FIELDS, "pruner", "together", "lanes", "code", "smoke")
TPE = {"make": "optuna.samplers:TPESampler"}


class Point(NamedTuple):
    """One run: the overrides that make it, and an id that its config alone decides."""

    id: str
    variant: str
    overrides: dict[str, Any]

    def named(self) -> dict[str, Any]:
        """Returns the overrides, and the variant if the config has any."""
        return ({"variant": self.variant} if self.variant else {}) | self.overrides


class Sweep:
    """A definition, checked against its config."""

    def __init__(self, spec: str, data: Mapping[str, Any], *, name: str = "sweep"):
        """Checks the whole definition; nothing is run.

        Args:
          spec: the config, as ``--config`` takes it.
          data: the definition, see above.
          name: what the sweep is called.

        Raises:
          ConfigError: if it is wrong; the message names the entry.
        """
        self.spec, self.name = spec, name
        self.data = json.loads(json.dumps(data))  # as a study keeps it
        self.file, _, self.variant = spec.partition(":")
        self._loaded: dict[str, Experiment] = {}
        self._house = House(configs.ROOT)
        self.experiment = self.load(self.variant)
        for key in data:
            if key not in FIELDS:
                hint = nearest(key, FIELDS)
                raise ConfigError(f"sweep {name}: there is no entry {key!r}{hint}")
        if ("space" in data) == bool({"list", "grid"} & data.keys()):
            raise ConfigError(
                f"sweep {name}: it needs a list, a grid or both, or else a space; it "
                f"has {', '.join(data) or 'nothing'}"
            )
        self.seeds = tuple(self.data.get("seeds", ()))
        self._check_ints("seeds", self.seeds)
        axes = [*self.data.get("list", ()), self.data.get("grid", {})]
        axes.append(self.data.get("space", {}))
        if self.seeds and any(
            "seed" in axis for axis in axes if isinstance(axis, dict)
        ):
            raise ConfigError(f"sweep {name}: seeds stand beside a path seed; keep one")
        self.objective = self._objective()
        self.together = tuple(self.data.get("together", ()))
        self.lanes = self.data.get("lanes", 8)
        self._check_together()
        if "space" in data:
            self._check_space()
        else:
            given = sorted({"trials", "sampler", "seed"} & data.keys())
            if given:
                raise ConfigError(f"sweep {name}: {given[0]!r} is for a space only")
            self.points()

    def load(self, variant: str) -> Experiment:
        """Returns the experiment of a variant; its config is the caller's to change."""
        if variant not in self._loaded:
            spec = f"{self.file}:{variant}" if variant else self.file
            smoke = bool(self.data.get("smoke"))
            self._loaded[variant] = configs.load_config(spec, smoke=smoke)
        kept = self._loaded[variant]
        return kept._replace(config=copy.deepcopy(kept.config))

    def resolve(self, choice: Mapping[str, Any]) -> tuple[Point, Experiment]:
        """Returns the point of some overrides and the experiment that it runs.

        Raises:
          ConfigError: if the config does not have an entry, or of another type.
        """
        rest = dict(choice)
        variant = rest.pop("variant", self.experiment.variant)
        experiment = self.load(variant)
        changes = {
            path: _tuples(self._meant(path).get(str(value), value))
            for path, value in rest.items()
        }
        try:
            configs.override(experiment.config, changes)
        except ConfigError as error:
            raise ConfigError(f"sweep {self.name}: {error}") from error
        return Point(self._digest(experiment), variant, rest), experiment

    def _meant(self, path: str) -> dict[str, Any]:
        """The values of an axis that have names, by these."""
        for section in ("grid", "space"):
            axis = self.data.get(section, {}).get(path)
            if isinstance(axis, dict):
                values = axis.get("values", axis.get("choices"))
                return values if isinstance(values, dict) else {}
        return {}

    def _digest(self, experiment: Experiment) -> str:
        config = configs.plain(experiment.config)
        for free in configs.FREE:
            config.pop(free, None)
        about = [experiment.name, experiment.variant, config]
        if self.data.get("code"):
            about.append(self._house.digest(names_in(config)))
        text = json.dumps(about, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _check_together(self) -> None:
        where = f"sweep {self.name}: together"
        self._check_ints("lanes", [self.lanes])
        if "lanes" in self.data and (not self.together or self.lanes < 2):
            raise ConfigError(
                f"sweep {self.name}: lanes needs together, and to be at least 2; got "
                f"{self.lanes}"
            )
        known = configs.flat(self.experiment.config)
        for path in self.together:
            if path != "seed" and not path.startswith("optimizer."):
                raise ConfigError(
                    f"{where} may name seed and scalars of the optimizer, got {path!r}"
                )
            if type(known.get(path)) not in (int, float):
                hint = nearest(path, known)
                raise ConfigError(f"{where}: config.{path} is no number{hint}")
        config = self.load(self.experiment.variant).config
        configs.override(config, {path: known[path] + 1 for path in self.together})
        for path in self._following(config):
            raise ConfigError(
                f"{where}: config.{path} follows {' or '.join(self.together)}, and "
                "runs side by side share it; in the config it must stand by itself"
            )
        if self.together and "pruner" in self.data:
            raise ConfigError(f"{where}: runs side by side cannot be pruned one by one")
        if self.together and "space" in self.data and self.together != ("seed",):
            raise ConfigError(
                f"{where}: trials of a space are drawn one by one; only their seeds "
                "can run side by side"
            )

    def group(self, point: Point) -> str:
        """Returns what the runs that may be made side by side have in common."""
        experiment = self.resolve(point.named())[1]
        following = self._following(experiment.config)
        rest = json.dumps(following, sort_keys=True, default=str)
        return f"{self._digest(experiment)} {rest}"

    def _following(self, config: Any) -> dict[str, Any]:
        """Sets `together` to zeros; returns what changed with them, as it was.

        Such as the seed of data that is the config's: lanes have the same data.
        """
        before = configs.flat(config)
        configs.override(config, {path: _zero(config, path) for path in self.together})
        after = configs.flat(config)
        # Transforms are of each lane's own, unless lanes differ in their seeds alone.
        own = ("optimizer.",) if set(self.together) - {"seed"} else ()
        return {
            path: value
            for path, value in before.items()
            if after[path] != value and path not in self.together
            if not path.startswith(own)
        }

    # Lists and grids

    def points(self) -> list[Point]:
        """Returns every run of a list or a grid.

        Raises:
          ConfigError: if one does not fit the config, or two are the same.
        """
        grid = self._section("grid")
        for path, axis in grid.items():
            self._check_axis(path, axis, grid)
        choices = [
            entry | point | seed
            for entry in self._entries()
            for point in _product(list(grid.items()), entry)
            for seed in ([{"seed": s} for s in self.seeds] or [{}])
        ]
        found: dict[str, Point] = {}
        for choice in choices:
            point = self.resolve(choice)[0]
            if point.id in found:
                raise ConfigError(
                    f"sweep {self.name}: {choice} and {found[point.id].named()} are "
                    "the same run"
                )
            found[point.id] = point
        return list(found.values())

    def _entries(self) -> list[dict[str, Any]]:
        entries = self.data.get("list", [{}])
        if not isinstance(entries, list) or not entries:
            raise ConfigError(f"sweep {self.name}: list must have entries")
        for entry in entries:
            if not isinstance(entry, dict):
                raise ConfigError(
                    f"sweep {self.name}: an entry of list is a dict of overrides, got "
                    f"{entry!r}"
                )
        return entries

    def _section(self, key: str) -> dict[str, Any]:
        section = self.data.get(key, {})
        if not isinstance(section, dict) or (key in self.data and not section):
            raise ConfigError(
                f"sweep {self.name}: {key} is a dict of paths, got {section!r}"
            )
        return section

    def _check_axis(self, path: str, axis: Any, axes: Mapping[str, Any]) -> None:
        where = f"sweep {self.name}: grid[{path!r}]"
        values = axis.get("values") if isinstance(axis, dict) else axis
        kinds = (list, dict) if isinstance(axis, dict) else list
        if not isinstance(values, kinds) or not values:
            raise ConfigError(f"{where} must list values, got {axis!r}")
        if isinstance(axis, dict):
            self._check_fields(where, axis, ("values", "when"))
            self._check_when(where, path, axis, axes)

    def _check_fields(self, where: str, given: Mapping, known: Sequence[str]) -> None:
        for key in given:
            if key not in known:
                raise ConfigError(f"{where} has no {key!r}{nearest(key, known)}")

    def _check_when(self, where: str, path: str, axis: Any, axes: Mapping) -> None:
        before = list(itertools.takewhile(lambda other: other != path, axes))
        for other in axis.get("when", {}):
            if other not in before:
                raise ConfigError(
                    f"{where}.when names {other!r}, which does not stand before it"
                )

    def _check_ints(self, what: str, values: Sequence[Any]) -> None:
        if any(type(value) is not int for value in values):
            raise ConfigError(f"sweep {self.name}: {what} must be ints, got {values!r}")
        if len(set(values)) < len(values):
            raise ConfigError(f"sweep {self.name}: {what} repeats, got {values!r}")

    # Spaces

    def _objective(self) -> dict[str, str]:
        objective = self._section("objective")
        for score, mode in objective.items():
            if mode not in ("min", "max"):
                raise ConfigError(
                    f"sweep {self.name}: objective[{score!r}] must be 'min' or 'max', "
                    f"got {mode!r}"
                )
        if "space" in self.data and not objective:
            raise ConfigError(f"sweep {self.name}: a space needs an objective")
        if "pruner" in self.data and len(objective) != 1:
            raise ConfigError(f"sweep {self.name}: a pruner needs one objective")
        if "pruner" in self.data and len(self.seeds) > 1 and "space" in self.data:
            raise ConfigError(f"sweep {self.name}: a pruner cannot prune several seeds")
        return objective

    @property
    def space(self) -> dict[str, dict[str, Any]]:
        """The axes of a space, by path, in their order."""
        return self.data["space"]

    @property
    def trials(self) -> int:
        """How many points of a space are drawn."""
        return self.data["trials"]

    @property
    def sampler(self) -> dict[str, Any]:
        """What makes the sampler."""
        return self.data.get("sampler", TPE)

    @property
    def seed(self) -> int:
        """The seed of the sampler."""
        return self.data.get("seed", 0)

    def _check_space(self) -> None:
        trials = self.data.get("trials")
        if type(trials) is not int or trials < 1:
            raise ConfigError(
                f"sweep {self.name}: a space needs trials, a positive int; got "
                f"{trials!r}"
            )
        self._check_ints("seed", [self.seed])
        space = self._section("space")
        for path, axis in space.items():
            where = f"sweep {self.name}: space[{path!r}]"
            if not isinstance(axis, dict):
                raise ConfigError(f"{where} must be a dict, got {axis!r}")
            if "choices" in axis:
                self._check_fields(where, axis, ("choices", "when"))
                if not isinstance(axis["choices"], list | dict) or not axis["choices"]:
                    raise ConfigError(f"{where}.choices must list values")
            else:
                self._check_range(where, axis)
            self._check_when(where, path, axis, space)
        for choice in self._corners():
            self.resolve(choice)

    def _check_range(self, where: str, axis: Mapping[str, Any]) -> None:
        self._check_fields(where, axis, ("low", "high", "log", "step", "when"))
        low: Any = axis.get("low")
        high: Any = axis.get("high")
        if not all(type(x) in (int, float) for x in (low, high)) or not low <= high:
            raise ConfigError(
                f"{where} needs choices, or numbers low <= high; got {low!r}, {high!r}"
            )
        if axis.get("log") and (low <= 0 or "step" in axis):
            raise ConfigError(f"{where}: a log scale needs low > 0 and no step")
        if "step" in axis and not axis["step"] > 0:
            raise ConfigError(f"{where}: step must be positive, got {axis['step']!r}")

    def _corners(self) -> Iterator[dict[str, Any]]:
        """Choices that between them have every bound and every choice once."""
        base: list[dict[str, Any]] = [{}]
        for path, axis in self.space.items():
            ends = list(axis.get("choices", ())) or [axis["low"], axis["high"]]
            first = next((x for x in base if _applies(axis, x)), None)
            if first is None:
                raise ConfigError(
                    f"sweep {self.name}: space[{path!r}].when is never true"
                )
            base = [x | {path: ends[0]} if _applies(axis, x) else x for x in base] + [
                first | {path: end} for end in ends[1:]
            ]
        yield from base


def _applies(axis: Any, choice: Mapping[str, Any]) -> bool:
    """Whether an axis is there, given what was chosen before it."""
    when = axis.get("when", {}) if isinstance(axis, Mapping) else {}
    return all(
        other in choice
        and choice[other] in (wanted if isinstance(wanted, list) else [wanted])
        for other, wanted in when.items()
    )


def _product(
    axes: Sequence[tuple[str, Any]], choice: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Every point of a grid, whose first axis changes slowest."""
    if not axes:
        yield {}
        return
    (path, axis), *rest = axes
    if not _applies(axis, choice):
        yield from _product(rest, choice)
        return
    for value in axis["values"] if isinstance(axis, dict) else axis:
        here = {path: value}
        for more in _product(rest, dict(choice) | here):
            yield here | more


def _zero(config: Any, path: str) -> Any:
    """Zero, of the type that an entry has."""
    return type(configs.flat(config)[path])(0)


def _tuples(value: Any) -> Any:
    """Lists, which JSON has, as the tuples that a config holds."""
    if isinstance(value, dict):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def command_of(sweep: Sweep, point: Point, workdir: Path) -> list[str]:
    """Returns what a person would type to have the run of a point alone."""
    spec = sweep.file + (f":{point.variant}" if point.variant else "")
    changes = [f"--config.{path}={value}" for path, value in point.overrides.items()]
    if any(str(value) in sweep._meant(path) for path, value in point.overrides.items()):
        spec, changes = str(workdir / "config.json"), []
    return ["python", "-m", "experiments.run", f"--config={spec}", *changes]


def draw(sweep: Sweep, suggest: Any) -> dict[str, Any]:
    """Returns one choice of a space; `suggest` takes a path and its axis."""
    choice: dict[str, Any] = {}
    for path, axis in sweep.space.items():
        if _applies(axis, choice):
            choice[path] = suggest(path, axis)
    return choice


def load_sweep(spec: str, which: str | None) -> Sweep:
    """Returns a sweep of a config.

    Args:
      spec: the config, as ``--config`` takes it.
      which: the name of one of its file's ``SWEEPS`` (default the only one); or
        ``file.py:name`` of another file; or a JSON file.

    Raises:
      ConfigError: if there is no such sweep, or it is wrong.
    """
    which = which or ""
    file, _, name = which.partition(":")
    path = Path(file)
    if path.suffix == ".json":
        try:
            data = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"--sweep: {path} cannot be read: {error}") from error
        return Sweep(spec, data, name=path.stem)
    if path.suffix == ".py":
        if not path.is_file():
            raise ConfigError(f"--sweep: there is no {path}")
        sweeps = getattr(configs.load_module(path), "SWEEPS", {})
        home = str(path)
    else:
        sweeps = getattr(configs.load_config(spec).module, "SWEEPS", {})
        home, name = spec.partition(":")[0], which
    if not name and len(sweeps) == 1:
        name = next(iter(sweeps))
    if name not in sweeps:
        hint = nearest(name, sweeps) if name else ""
        raise ConfigError(
            f"--sweep: {home} has no sweep {name!r}{hint} (it has "
            f"{', '.join(sweeps) or 'none'})"
        )
    return Sweep(spec, sweeps[name], name=name)
