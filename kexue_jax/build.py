"""The one place where a name in a config becomes an object.

A dict with ``make`` is called with its other entries; one with ``bind`` becomes a
partial function of them; everything else is plain data. Names read
``package.module:attribute``, so there is nothing to register and code from elsewhere is
named in the same way as ours.
"""

import difflib
import functools
import importlib
import inspect
from collections.abc import Collection, Mapping
from typing import Any

TRUSTED = ("kexue_jax", "optax", "jax.nn")
"""Packages that a config of unknown origin may name; `jax.numpy` reads pickles."""

_KEPT = (
    "kexue_jax.build",
    "kexue_jax.train",
    "kexue_jax.data.archives",
    "kexue_jax.data.derive",
    "kexue_jax.data.fetch",
    "kexue_jax.data.registry",
    "kexue_jax.pretrained.writing",
)
"""Modules that build, write or download, and so are not for such a config either."""


class BuildError(ValueError):
    """A config names something that cannot be built; the message says where."""


def nearest(word: str, words: Collection[str]) -> str:
    """Returns ``"; did you mean 'x'?"``, or an empty string if nothing is near.

    Of dotted paths the last names are compared too, which people remember best.
    """
    near = difflib.get_close_matches(word, list(words), n=1, cutoff=0.75)
    if not near:
        lasts = {name.rpartition(".")[2]: name for name in words}
        last = difflib.get_close_matches(word.rpartition(".")[2], list(lasts), n=1)
        near = [lasts[name] for name in last]
    return f"; did you mean {near[0]!r}?" if near else ""


def _inside(module: str, packages: Collection[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in packages)


def _may_be_named(module: str, packages: Collection[str]) -> bool:
    writers = module == "kexue_jax.train.writers"
    return _inside(module, packages) and (writers or not _inside(module, _KEPT))


def resolve(
    name: str, *, where: str = "name", allow: Collection[str] | None = None
) -> Any:
    """Returns the object that ``package.module:attribute`` names.

    Args:
      name: the name; the attribute may not be dotted.
      where: the place in the config, for messages.
      allow: packages that may be named; None allows all. With a list, neither the name
        nor the home of what it leads to may lie outside it, so that a module's imports
        (``kexue_jax.x:os``) are out of reach, as are private names and those modules of
        ours that build, write or download.

    Raises:
      BuildError: if the name is malformed, forbidden or leads nowhere.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute.isidentifier():
        raise BuildError(f"{where}: {name!r} is not of the form package.module:name")
    if allow is not None and (
        not _may_be_named(module, allow) or "._" in module or attribute.startswith("_")
    ):
        raise BuildError(
            f"{where}: {name!r} is not allowed in a config of unknown origin; "
            f"allowed are public names of {', '.join(allow)}"
        )
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not _inside(module, [error.name]):
            error.add_note(f"while importing {module}, named at {where}")
            raise
        raise BuildError(f"{where}: there is no module {error.name!r}") from error
    try:
        found = getattr(home, attribute)
    except AttributeError:
        hint = nearest(attribute, [word for word in dir(home) if word[0] != "_"])
        raise BuildError(f"{where}: {module} has no {attribute!r}{hint}") from None
    if allow is not None:
        origin = getattr(found, "__module__", None) or ""
        tops = {package.partition(".")[0] for package in allow}
        if inspect.ismodule(found) or not _may_be_named(origin, tops):
            raise BuildError(
                f"{where}: {name!r} leads outside of {', '.join(allow)}, which a "
                "config of unknown origin may not"
            )
    return found


def _check_arguments(function, arguments: Mapping, *, partial: bool, where: str, name):
    """Refuses arguments that `function` does not take, or lacks (unless partial)."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins without a signature check themselves
        return
    takes = signature.parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    named = [
        key
        for key, p in takes.items()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    for key in arguments:
        if key not in named and not anything:
            raise BuildError(
                f"{where}.{key}: {name} takes no argument {key!r}"
                f"{nearest(key, named)} (it takes {', '.join(named) or 'none'})"
            )
    lacking = [
        key
        for key in named
        if takes[key].default is inspect.Parameter.empty and key not in arguments
    ]
    if lacking and not partial:
        raise BuildError(
            f"{where}: {name} lacks its argument{'s'[: len(lacking) > 1]} "
            f"{', '.join(map(repr, lacking))}"
        )


def build(
    data: Any, *, where: str = "config", allow: Collection[str] | None = None
) -> Any:
    """Returns `data` with every dict that has ``make`` or ``bind`` made into an object.

    Args:
      data: nested dicts, tuples and lists of plain values.
      where: the path of `data` in the config, for messages.
      allow: packages that names may lead to; None allows all. Use `TRUSTED` for a
        config that somebody else may have written.

    Returns:
      What was named; dicts and tuples without a name keep their shape.

    Raises:
      BuildError: if a name leads nowhere or is not allowed, or an argument is missing
        or unexpected; it says which config path it came from. What a called function
        raises itself passes through, with a note of that path.
    """
    if isinstance(data, Mapping):
        if "make" in data and "bind" in data:
            raise BuildError(f"{where}: has both 'make' and 'bind'")
        verb = "make" if "make" in data else "bind" if "bind" in data else None
        built = {
            key: build(value, where=f"{where}.{key}", allow=allow)
            for key, value in data.items()
            if key != verb
        }
        if verb is None:
            return built
        name = data[verb]
        if not isinstance(name, str):
            raise BuildError(f"{where}.{verb}: expected a name, got {name!r}")
        function = resolve(name, where=f"{where}.{verb}", allow=allow)
        if not callable(function):
            raise BuildError(f"{where}.{verb}: {name} cannot be called")
        partial = verb == "bind"
        _check_arguments(function, built, partial=partial, where=where, name=name)
        if partial:
            return functools.partial(function, **built) if built else function
        try:
            return function(**built)
        except Exception as error:
            error.add_note(f"while making {where} ({name})")
            raise
    if isinstance(data, tuple | list):
        parts = [
            build(x, where=f"{where}[{i}]", allow=allow) for i, x in enumerate(data)
        ]
        return type(data)(parts)
    return data
