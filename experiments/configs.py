"""Configs: found, laid over the defaults of the loop, overridden, compared."""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from kexue_jax.build import TRUSTED, nearest
from kexue_jax.train import parallel
from kexue_jax.train.options import Options

ROOT = Path(__file__).resolve().parent.parent

FREE = ("mesh", "writers", "prefetch", "hang_seconds", "keep", "on_save_failure")
"""What a run may change when it goes on: it moves no number."""

DATA = ("source", "held_out")
"""Entries of a config that say what the data are."""

_OPTIONAL = {
    "eval_every": int,
    "patience": int,
    "best": str,
    "spike_factor": float,
    "prefetch": int,
}


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
    config.init_from, config.init_partial = placeholder(str), placeholder(bool)
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


class _Anew(SourceFileLoader):
    """Reads source alone: kept bytecode is stale by seconds and by size only."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def load_module(path: Path) -> ModuleType:
    """Returns a config file as a module; it is read anew each time."""
    if path.suffix != ".py":
        raise ConfigError(f"--config: {path} is no Python file")
    module = ModuleType(f"config_{path.stem}")
    module.__file__ = str(path)
    _Anew(module.__name__, module.__file__).exec_module(module)
    return module


def _tuples(data: Any) -> Any:
    """Lists, which JSON has, as the tuples that they were."""
    if isinstance(data, dict):
        return {key: _tuples(value) for key, value in data.items()}
    return tuple(map(_tuples, data)) if isinstance(data, list) else data


def load_config(spec: str, *, smoke: bool = False) -> Experiment:
    """Returns the experiment that ``path.py[:variant]`` or a ``config.json`` names.

    Args:
      spec: a config file and, after a colon, one of its ``VARIANTS`` or of those of
        published size, its ``FULL``; or the ``config.json`` of a run directory, or that
        directory.
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
    module = load_module(path)
    variants = getattr(module, "VARIANTS", ())
    known = (*variants, *getattr(module, "FULL", ()))
    if variant and variant not in known:
        raise ConfigError(
            f"--config: {file} has no variant {variant!r}{nearest(variant, known)} "
            f"(it has {', '.join(known) or 'none'})"
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
        module = load_module(own)
    return Experiment(config, file, str(origin.get("variant", "")), module, False)


def override(config: ConfigDict, changes: Mapping[str, Any]) -> None:
    """Sets entries by their dotted paths; a dict stands for a whole section.

    Raises:
      ConfigError: if there is no such entry, or it is of another type.
    """
    for path, value in changes.items():
        entry = config
        *parents, last = path.split(".")
        try:
            for name in parents:
                entry = entry[name]
            if last not in entry:
                raise KeyError(last)
            if isinstance(entry[last], ConfigDict) and isinstance(value, Mapping):
                with entry.unlocked():
                    entry[last] = ConfigDict(value)
            else:
                entry[last] = value
        except (KeyError, AttributeError, TypeError) as error:
            known = flat(config)
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
    """Returns a config as nested dicts that JSON can hold.

    What a run does not begin from is left out, as in runs of before there was such.
    """
    data = json.loads(json.dumps(config.to_dict()))
    for name in ("init_from", "init_partial"):
        if data.get(name) is None:
            data.pop(name, None)
    return data


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
