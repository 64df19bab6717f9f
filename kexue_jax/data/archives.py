"""Compressed files and archives, read without trusting them."""

import bz2
import gzip
import io
import lzma
import pathlib
import tarfile
import zlib
from collections.abc import Iterator

_LIMIT = 1 << 30  # bytes that an archive may unpack to; the largest set needs 1 << 27


def open_packed(
    path: pathlib.Path,
) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | io.BufferedReader:
    """Opens a file for reading, through gzip, bzip2 or xz if its name ends so.

    Args:
      path: pathlib.Path, ending in ``.gz``, ``.bz2``, ``.xz`` or anything else.

    Returns:
      A binary file of the unpacked content.
    """
    openers = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    return openers.get(path.suffix, open)(path, "rb")


def pack(content: bytes, packing: str | None) -> bytes:
    """Returns `content` compressed: the same bytes for the same content, always.

    Args:
      content: bytes.
      packing: ``"gzip"``, ``"xz"`` or None for bytes that stay as they are.

    Returns:
      bytes, without a time or a name inside.

    Raises:
      ValueError: if `packing` is another word.
    """
    if packing is None:
        return content
    if packing == "gzip":
        return gzip.compress(content, 9, mtime=0)
    if packing == "xz":
        return lzma.compress(content, preset=6)
    raise ValueError(f"packing must be 'gzip', 'xz' or None, got {packing!r}")


def _reader(packed: io.BytesIO, packing: str | None) -> io.BufferedIOBase:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=packed)
    return lzma.LZMAFile(packed) if packing == "xz" else packed


def unpack(data: bytes, packing: str | None, size: int) -> bytes | None:
    """Returns the content of packed bytes if it has `size` bytes, else None.

    A damaged or cut stream gives None too, and no more than `size` + 1 bytes are ever
    unpacked, however much the stream holds.

    Args:
      data: bytes.
      packing: ``"gzip"``, ``"xz"`` or None.
      size: int, bytes of the content.

    Returns:
      bytes or None.
    """
    try:
        with _reader(io.BytesIO(data), packing) as reader:
            content = reader.read(size + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError):
        return None
    return content if len(content) == size else None


def _refuse(member: tarfile.TarInfo) -> str | None:
    """Says what is wrong with a member, or None."""
    parts = pathlib.PurePosixPath(member.name).parts
    if member.name.startswith(("/", "\\")) or ":" in member.name.split("/")[0]:
        return "an absolute path"
    if ".." in parts or "\\" in member.name:
        return "a path that leaves the archive"
    if not (member.isreg() or member.isdir()):
        return "a link or a device"
    return None


def members(path: pathlib.Path, *, limit: int = _LIMIT) -> Iterator[tuple[str, bytes]]:
    """Yields the files of a tar archive from memory; nothing is written to disk.

    Args:
      path: pathlib.Path of a tar file, plain or packed by gzip, bzip2 or xz.
      limit: int, bytes that all files together may have.

    Yields:
      ``(name, content)`` in the order of the archive; folders are passed over.

    Raises:
      ValueError: if a member has an absolute path or one with ``..``, is a link or a
        device, or if the files exceed `limit`.
    """
    total = 0
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            wrong = _refuse(member)
            if wrong:
                raise ValueError(
                    f"{path} must hold plain files below its own folder; "
                    f"{member.name!r} is {wrong}"
                )
            if member.isdir():
                continue
            total += member.size
            if total > limit:
                raise ValueError(
                    f"{path} must unpack to at most {limit:,} bytes; "
                    f"{member.name!r} brings it to {total:,}"
                )
            content = archive.extractfile(member)
            yield member.name, content.read() if content else b""
