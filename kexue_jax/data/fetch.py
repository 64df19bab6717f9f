"""Finds the files of a set: on this machine or, checked, at their original home.

The ways, in order: an explicit path; the folder that ``KEXUE_DATA`` names; the folder
``../shared/data`` beside the repository; the cache (``KEXUE_CACHE``, or the folder that
the system has for caches); a download from the original repository at its pinned
commit. ``KEXUE_DATA_URL`` names a mirror to download from instead.

Run:  python -m kexue_jax.data.fetch sst2 mnist
"""

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import shutil
import struct
import tarfile
import tempfile
import time
import urllib.parse
import zlib
from collections.abc import Iterable, Sequence
from typing import TextIO

from kexue_jax.data import archives, derive, registry
from kexue_jax.data.registry import DataSet, Published

_FILES_URL = "https://raw.githubusercontent.com"
_ARCHIVES_URL = "https://github.com"
_TIMEOUT = 30  # seconds without a byte
_STALE = 24 * 3600  # seconds after which the leavings of a killed process are removed


class DataNotFoundError(FileNotFoundError):
    """No way led to the files; the message names every way that was tried."""


class ChecksumError(ValueError):
    """Bytes are not those that the registry knows."""


def _entry(name):
    return name if isinstance(name, DataSet) else registry.load(name)


def _pooch():
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pooch, which finds the cache and downloads, is not installed: install "
            "kexue-jax[train], set KEXUE_DATA or give an explicit path",
            name="pooch",
        ) from error
    return pooch


def cache_folder() -> pathlib.Path:
    """Returns ``KEXUE_CACHE`` or, if it is not set, the system's folder for caches."""
    if os.environ.get("KEXUE_CACHE"):
        return pathlib.Path(os.environ["KEXUE_CACHE"])
    return pathlib.Path(_pooch().os_cache("kexue_jax"))


def _shared_folder():
    """``../shared/data`` of a checkout; None where the package is installed."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return (
        root.parent / "shared" / "data" if (root / "pyproject.toml").exists() else None
    )


def _damage(path, file):
    """Says what is wrong with a copy of `file`, or None if it is whole."""
    data = path.read_bytes()
    got = hashlib.sha256(data).hexdigest()
    if got == file.stored_sha256:
        return None
    content = archives.unpack(data, file.packing, file.size)
    if content is None:
        return f"it does not unpack to {file.size:,} bytes"
    got = hashlib.sha256(content).hexdigest()
    if got != file.sha256:
        return f"expected sha256 {file.sha256}, got {got}"
    return None


def _missing(folder, files):
    """Says which files a folder lacks, or None if it has them all."""
    if not folder.is_dir():
        return f"{folder} is not a folder"
    lacking = [file.name for file in files if not (folder / file.name).is_file()]
    if not lacking:
        return None
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{folder} has no {lacking[0]}{more}"


def _whole(folder, files):
    """Returns `folder` if every file in it is the one that the registry knows."""
    for file in files:
        wrong = _damage(folder / file.name, file)
        if wrong:
            raise ChecksumError(
                f"{folder / file.name} is not the file the registry knows: {wrong}; "
                "replace it or remove it"
            )
    return folder


def locate(
    name: str | DataSet,
    path: str | os.PathLike | None = None,
    *,
    files: Iterable[str] | None = None,
) -> pathlib.Path:
    """Returns the folder that holds the files of a set, downloaded if need be.

    Every file is compared with the registry before its folder is returned. A folder of
    the user that holds a damaged copy is an error, as going on to the next way would
    hide it; in the cache a damaged copy is fetched again.

    Args:
      name: str, a set of the registry, or a `DataSet` of your own.
      path: folder of this set, or of sets by name; None for the other ways. If it is
        given, no other way is tried.
      files: names of the files that are needed; None for all.

    Returns:
      pathlib.Path of a folder.

    Raises:
      ValueError: if there is no such set or no such file in it.
      DataNotFoundError: if no way leads to the files, or an explicit path lacks them.
      ChecksumError: if a copy or a download is not the file the registry knows.
    """
    entry = _entry(name)
    wanted = registry.select(entry, files)
    if path is not None:
        folder = pathlib.Path(path)
        folder = folder / entry.name if (folder / entry.name).is_dir() else folder
        lacks = _missing(folder, wanted)
        if lacks:
            raise DataNotFoundError(
                f"path must be a folder with the files of {entry.name!r}, "
                f"got {str(path)!r}: {lacks}"
            )
        return _whole(folder, wanted)
    environment = os.environ.get("KEXUE_DATA")
    ways = {
        "KEXUE_DATA": pathlib.Path(environment) if environment else None,
        "../shared/data": _shared_folder(),
    }
    tried = ["an explicit path: none was given"]
    for way, root in ways.items():
        lacks = "not set" if way == "KEXUE_DATA" else "this is not a checkout"
        if root is not None:
            lacks = _missing(root / entry.name, wanted)
        if lacks is None:
            return _whole(root / entry.name, wanted)
        tried.append(f"{way}: {lacks}")
    cache = cache_folder() / entry.name
    tried.append(f"the cache: {_missing(cache, wanted) or f'{cache} is damaged'}")
    try:
        download(entry, cache, files=[file.name for file in wanted])
    except DataNotFoundError as error:
        raise DataNotFoundError(_every_way(entry, tried, error)) from error
    return cache


def _every_way(entry, tried, error):
    """The message of a set that was not found."""
    ways = [*tried, f"download: {error}"]
    listed = "\n".join(f"  {i}. {way}" for i, way in enumerate(ways, start=1))
    return (
        f"the files of {entry.name!r} were not found; tried, in order:\n{listed}\n"
        "To fetch them by hand, run where there is a network\n"
        f"  python -m kexue_jax.data.fetch {entry.name} --to FOLDER\n"
        "then set KEXUE_DATA to FOLDER here, or give it as the explicit path."
    )


def url_of(published: Published, base_url: str | None = None) -> str:
    """Returns the address of a file, or of the archive of a repository.

    Args:
      published: what to fetch.
      base_url: str, a mirror; default ``KEXUE_DATA_URL`` or, without it, GitHub.

    Returns:
      str, ``base/owner/name/commit/path`` or ``base/owner/name/archive/commit.tar.gz``.
    """
    base = (base_url or os.environ.get("KEXUE_DATA_URL", "")).rstrip("/")
    repository, commit, path = published.repository, published.commit, published.path
    if path is None:
        return f"{base or _ARCHIVES_URL}/{repository}/archive/{commit}.tar.gz"
    return f"{base or _FILES_URL}/{repository}/{commit}/{urllib.parse.quote(path)}"


def _check_published(data, published, url):
    """Refuses bytes that are not the published ones, as far as those are known."""
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    checks = {
        "sha256": (published.sha256, hashlib.sha256(data).hexdigest()),
        "size": (published.size, len(data)),
        "git blob id": (published.blob, blob[: len(published.blob or "")]),
    }
    for what, (expected, got) in checks.items():
        if expected is not None and expected != got:
            raise ChecksumError(
                f"{published.path} of {published.repository} must have the {what} "
                f"{expected}, got {got} ({len(data):,} bytes) from {url}"
            )


def _published(published, work, base_url):
    """Downloads into the folder `work`; returns bytes, or a dict for an archive."""
    url, target = url_of(published, base_url), work / "published"
    try:
        _pooch().HTTPDownloader(timeout=_TIMEOUT)(url, str(target), None)
    except OSError as error:  # what requests raises is an OSError
        raise DataNotFoundError(f"{url} could not be fetched: {error}") from error
    if published.path is not None:
        data = target.read_bytes()
        _check_published(data, published, url)
        return data
    try:
        contents = dict(archives.members(target))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ChecksumError(f"{url} is not a whole archive: {error}") from error
    return {name.partition("/")[2]: data for name, data in contents.items()}


def _derived(published, file):
    """Makes the content of `file` from what was published, and checks it."""
    if file.derive is None:
        return published
    try:
        content = derive.apply(published, file.derive)
    except (KeyError, ValueError, struct.error, zlib.error) as error:
        raise ChecksumError(
            f"{file.name} cannot be made from {file.published.repository}: {error}"
        ) from error
    got = hashlib.sha256(content).hexdigest()
    if got != file.sha256:
        raise ChecksumError(
            f"{file.name}, made from {file.published.path or 'the archive'} of "
            f"{file.published.repository}, must have the sha256 {file.sha256}, "
            f"got {got}"
        )
    return content


def _sweep(folder):
    """Removes what killed processes left in a folder more than a day ago."""
    for left in folder.glob(".part-*"):
        with contextlib.suppress(FileNotFoundError):  # its process has just finished
            if time.time() - left.stat().st_mtime > _STALE:
                shutil.rmtree(left, ignore_errors=True)


def download(
    name: str | DataSet,
    folder: str | os.PathLike,
    *,
    files: Iterable[str] | None = None,
    base_url: str | None = None,
) -> None:
    """Fetches the files of a set that a folder lacks or holds damaged.

    A file takes its name only when it is whole and checked, in one step. A process that
    is killed leaves a folder ``.part-...`` and no file; two processes at once write the
    same bytes, and the later one replaces the file of the earlier.

    Args:
      name: str, a set of the registry, or a `DataSet` of your own.
      folder: where the files go; made if need be.
      files: names of the files that are needed; None for all.
      base_url: str, a mirror; default ``KEXUE_DATA_URL`` or, without it, GitHub.

    Raises:
      ValueError: if there is no such set or no such file in it.
      DataNotFoundError: if an address cannot be fetched; it is in the message.
      ChecksumError: if a download is not the file the registry knows; nothing of it
        stays in the folder.
    """
    entry, folder = _entry(name), pathlib.Path(folder)
    wanted = [
        file
        for file in registry.select(entry, files)
        if not (folder / file.name).is_file() or _damage(folder / file.name, file)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    for source in dict.fromkeys(file.published for file in wanted):
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as work:
            published = _published(source, pathlib.Path(work), base_url)
            for file in wanted:
                if file.published == source:
                    _write(folder, file, _derived(published, file), work)


def _write(folder, file, content, work):
    part = pathlib.Path(work) / "whole"
    part.write_bytes(archives.pack(content, file.packing))
    (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
    os.replace(part, folder / file.name)


def read_bytes(
    name: str | DataSet, file: str, path: str | os.PathLike | None = None
) -> bytes:
    """Returns the unpacked content of one file of a set; arguments as in `locate`."""
    with archives.open_packed(locate(name, path, files=(file,)) / file) as stream:
        return stream.read()


def open_text(
    name: str | DataSet, file: str, path: str | os.PathLike | None = None
) -> TextIO:
    r"""Opens one file of a set as UTF-8 text, unpacked; arguments as in `locate`.

    Returns:
      A text file whose lines end in ``\n`` and nowhere else.
    """
    packed = archives.open_packed(locate(name, path, files=(file,)) / file)
    return io.TextIOWrapper(packed, encoding="utf-8", newline="\n")


def _table():
    """Lines that show every set with its size, language, task and licence."""
    rows = [("name", "files", "MB", "language", "task", "licence")]
    for name in registry.names():
        entry = registry.load(name)
        size = sum(file.size for file in entry.files) / 1e6
        counts = (str(len(entry.files)), f"{size:.2f}")
        rows.append((name, *counts, entry.language, entry.task, entry.licence))
    widths = [min(24, max(len(row[i]) for row in rows)) for i in range(4)]
    return [
        "  ".join(
            [
                *(cell[:w].ljust(w) for cell, w in zip(row, widths, strict=False)),
                *row[4:],
            ]
        )
        for row in rows
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: finds or fetches sets and says where they are.

    Args:
      arguments: words of the command line; default ``sys.argv``.
    """
    parser = argparse.ArgumentParser(
        "kexue_jax.data.fetch", description="Finds or fetches sets, checked."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="sets to get")
    parser.add_argument("--list", action="store_true", help="show all sets and stop")
    parser.add_argument(
        "--to", metavar="FOLDER", help="download to FOLDER/NAME, whatever is elsewhere"
    )
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(_table()))
        return
    if not options.names:
        parser.error("NAME or --list is needed")
    for name in options.names:
        try:
            entry = registry.load(name)
            if options.to is None:
                folder = locate(entry)
            else:
                folder = pathlib.Path(options.to) / name
                download(entry, folder)
        except (ValueError, FileNotFoundError, ModuleNotFoundError) as error:
            parser.exit(1, f"{error}\n")
        print(f"{name}: {folder} ({len(entry.files)} files, checked)")


if __name__ == "__main__":
    main()
