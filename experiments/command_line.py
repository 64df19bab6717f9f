"""What the commands share: ``--config``, its overrides, and errors for people."""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments.configs import ConfigError, Experiment, flat, load_config
from kexue_jax.build import nearest

EXIT_CONFIG = 2


class CommandLine(NamedTuple):
    """A parsed command line; `overrides` are those of the config, as typed."""

    experiment: Experiment
    flags: flags.FlagValues
    overrides: tuple[str, ...]


def _take_config(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """Splits ``--config=X`` or ``--config X`` from the other arguments."""
    spec, rest = None, []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name.lstrip("-") == "config" and name.startswith("-"):
            if spec is not None:
                raise ConfigError("--config: given twice")
            spec = value if equals else next(words, "")
        else:
            rest.append(word)
    return spec, rest


def _check_overrides(words: Sequence[str], config: ConfigDict) -> tuple[str, ...]:
    """Refuses overrides of what the config does not have."""
    known, found = flat(config), []
    for word in words:
        name = word.partition("=")[0].lstrip("-")
        for prefix in ("config.", "noconfig."):
            if word.startswith("-") and name.startswith(prefix):
                path = name.removeprefix(prefix)
                if path not in known:
                    sections = {entry.rpartition(".")[0] for entry in known}
                    inside = [k for k in known if k.startswith(path + ".")]
                    if path in sections and inside:
                        raise ConfigError(
                            f"--config.{path} is a section; name one of its entries, "
                            f"such as --config.{inside[0]}"
                        )
                    hint = nearest(path, list(known))
                    raise ConfigError(f"--config.{path}: no such entry{hint}")
                found.append(word)
    return tuple(found)


def parse(argv: Sequence[str], values: flags.FlagValues) -> CommandLine:
    """Parses a command line that names a config.

    Args:
      argv: the words after the program's name.
      values: holds the command's own flags; gains ``config``.

    Raises:
      ConfigError: if the config, a flag or an override is wrong; it names the nearest.
    """
    spec, rest = _take_config(argv)
    if not spec:
        raise ConfigError(
            "--config is missing; try --config=configs/text/docs_model.py"
        )
    smoke = any(word.lstrip("-") in ("smoke", "smoke=true") for word in rest)
    experiment = load_config(spec, smoke=smoke)
    overrides = _check_overrides(rest, experiment.config)
    words = ["run", *rest]
    try:
        config_flags.DEFINE_config_dict(
            "config",
            experiment.config,
            lock_config=True,
            flag_values=values,
            sys_argv=words,
        )
        left = values(words)
    except flags.UnrecognizedFlagError as error:
        hint = nearest(error.flagname, [name for name in values if name != "config"])
        raise ConfigError(f"there is no flag --{error.flagname}{hint}") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(_explain(str(error), experiment.config)) from error
    if len(left) > 1:
        raise ConfigError(f"what is {left[1]!r}? Flags start with --")
    return CommandLine(experiment._replace(config=values.config), values, overrides)


def _explain(message: str, config: ConfigDict) -> str:
    """Adds to an error of absl what the entry is and holds now."""
    for path, value in flat(config).items():
        if f"config.{path}=" in message or f"config.{path} " in message:
            kind = config_type(config, path)
            return f"{message} (config.{path} is of type {kind}; it is {value!r} here)"
    return message


def config_type(config: ConfigDict, path: str) -> str:
    """Returns the type of an entry, also of one that is empty."""
    entry: Any = config
    *parents, last = path.split(".")
    for name in parents:
        entry = entry[name]
    kind = entry.get_type(last) if isinstance(entry, ConfigDict) else type(entry)
    return kind.__name__


def help_config(config: ConfigDict) -> str:
    """Returns every entry that can be overridden, its type and its value."""
    lines = [
        f"  --config.{path}  ({config_type(config, path)}, now {value!r})"
        for path, value in sorted(flat(config).items())
    ]
    return "\n".join(lines)


def leave(error: BaseException, code: int) -> int:
    """Prints an error for people, with its notes, and returns the exit code."""
    print(f"error: {error}", file=sys.stderr)
    for note in getattr(error, "__notes__", ()):
        print(f"  {note}", file=sys.stderr)
    return code
