"""The sets of the experiments: where each is from, its licence, how it is known.

`registry.json`, beside this file, is the data; this module only reads it. For every
file it holds the name it has here, the path it has in its repository at the pinned
commit, and what the loader does to get from the one to the other:

- most files are the whole published file, compressed or not; their sha256 is that of
  the published bytes;
- some are a part or another form of one published file, which is known by its size and
  the first twelve digits of its git blob id, and `derive` names the function;
- some are made of many files of a repository, which comes as one archive. GitHub makes
  archives on demand and does not promise their bytes, so only the result is checked.

In every case `sha256` is that of the unpacked file as it is used here.
"""

import difflib
import importlib.resources
import json
import pathlib
from collections.abc import Iterable
from typing import Any, NamedTuple


class Published(NamedTuple):
    """What a repository holds, and how it is recognised.

    `path` is None for the archive of the whole repository; `size` and `blob`, the
    first digits of its git blob id, are None where nothing is known of the bytes.
    """

    repository: str
    commit: str
    path: str | None
    size: int | None
    blob: str | None
    sha256: str | None


class File(NamedTuple):
    """One file of a set: `size` and `sha256` are those of the unpacked content.

    `stored_sha256` is that of the packed copy in ``shared/data``; a copy packed by
    another version of a compressor differs there and is known by its content.
    """

    name: str
    packing: str | None
    size: int
    sha256: str
    stored_sha256: str | None
    derive: tuple | None
    published: Published


class DataSet(NamedTuple):
    """A set of files, with what a user has to know and to cite."""

    name: str
    title: str
    task: str
    language: str
    licence: str
    citation: str
    trimmed: str
    quality: str
    files: tuple[File, ...]


def _plain(name):
    """Refuses the name of a file that could lead out of the folder of its set."""
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise ValueError(
            f"name must be a path below the folder of the set, got {name!r}"
        )
    return name


def _file(row, commits):
    repository = row.get("repository") or next(iter(commits))
    whole = "derive" not in row
    published = Published(
        repository=repository,
        commit=commits[repository],
        path=row.get("path"),
        size=row["size"] if whole else row.get("published_size"),
        blob=row.get("published_blob"),
        sha256=row["sha256"] if whole else None,
    )
    return File(
        name=_plain(row["name"]),
        packing=row.get("packing"),
        size=row["size"],
        sha256=row["sha256"],
        stored_sha256=row.get("stored_sha256"),
        derive=None if whole else tuple(row["derive"]),
        published=published,
    )


def parse(row: dict[str, Any]) -> DataSet:
    """Returns the set that an entry of the registry describes.

    Args:
      row: dict, as in `registry.json`; sets of your own have the same keys.

    Returns:
      A `DataSet`.

    Raises:
      ValueError: if the name of a file leads out of the folder of its set.
    """
    return DataSet(
        name=_plain(row["name"]),
        title=row["title"],
        task=row["task"],
        language=row["language"],
        licence=row["licence"],
        citation=row["citation"],
        trimmed=row["trimmed"],
        quality=row.get("quality", ""),
        files=tuple(_file(file, row["commits"]) for file in row["files"]),
    )


def _rows():
    resource = importlib.resources.files("kexue_jax.data") / "registry.json"
    return {row["name"]: row for row in json.loads(resource.read_text("utf-8"))}


def nearest(name: str, known: Iterable[str]) -> str:
    """Says which known name was perhaps meant.

    >>> nearest("minst", ["mnist", "nli_zh"])
    "; did you mean 'mnist'?"
    """
    close = difflib.get_close_matches(str(name), list(known))
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def names() -> tuple[str, ...]:
    """Returns the names of all sets in alphabetical order."""
    return tuple(sorted(_rows()))


def load(name: str) -> DataSet:
    """Returns what the registry knows of one set.

    Args:
      name: str, one of `names`.

    Returns:
      A `DataSet`.

    Raises:
      ValueError: if there is no such set; the nearest names are in the message.

    >>> load("sst2").files[1].name
    'dev.tsv.gz'
    """
    rows = _rows()
    if name not in rows:
        raise ValueError(
            f"name must be one of the {len(rows)} sets that "
            f"`python -m kexue_jax.data.fetch --list` shows, got {name!r}"
            + nearest(name, rows)
        )
    return parse(rows[name])


def select(entry: DataSet, files: Iterable[str] | None = None) -> tuple[File, ...]:
    """Returns some files of a set, in the order asked for, or all of them.

    Args:
      entry: a `DataSet`.
      files: names of files, or None for all.

    Returns:
      tuple of `File`.

    Raises:
      ValueError: if the set has no file of that name, or `files` is one str.
    """
    if files is None:
        return entry.files
    if isinstance(files, str):
        raise ValueError(f"files must be a tuple of names, got the str {files!r}")
    known, files = {file.name: file for file in entry.files}, tuple(files)
    for name in files:
        if name not in known:
            raise ValueError(
                f"files of {entry.name!r} must be among its {len(known)} files, "
                f"got {name!r}" + nearest(name, known)
            )
    return tuple(known[name] for name in files)
