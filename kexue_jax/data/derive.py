"""From what a repository publishes to the subset that the experiments use.

Every function here is pure, from bytes to bytes. The registry names one of them, with
its arguments, for every file that is not stored as it was published, and the digest of
the result is in the registry too: a function that drifts is refused, not believed.
"""

import fnmatch
import io
import json
import lzma
import pickletools
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_START = "rnbakabnr/9/1c5c1/p1p1p1p1p/9/9/P1P1P1P1P/1C5C1/9/RNBAKABNR w - - 0 1"


def first_lines(data: bytes, count: int) -> bytes:
    r"""Returns the first `count` lines, each with its ``\n``.

    >>> first_lines(b"a\nb\nc\n", 2)
    b'a\nb\n'
    """
    return b"".join(io.BytesIO(data).readlines()[:count])


def odd_lines(data: bytes) -> bytes:
    r"""Returns the lines 1, 3, 5, ..., each with its ``\n``.

    >>> odd_lines(b"a\nb\nc\n")
    b'a\nc\n'
    """
    return b"".join(io.BytesIO(data).readlines()[::2])


def first_items(data: bytes, count: int) -> bytes:
    """Returns the first `count` entries of a JSON array, indented by two spaces."""
    items = json.loads(data)[:count]
    return (json.dumps(items, ensure_ascii=False, indent=2) + "\n").encode()


def zip_member(data: bytes, name: str) -> bytes:
    """Returns one file of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def vocabulary_lines(data: bytes) -> bytes:
    """Returns the keys of a stored dict from words to 0, 1, 2, ..., one a line.

    The dict is in Python's own object format, which can run code when it is loaded, so
    it is not loaded: its instructions are listed, and any beside those of a flat dict
    of strings and numbers is refused. The two words that would look empty are written
    ``<SPACE>`` and ``<U+3000>``.

    Raises:
      ValueError: if there is any other instruction, or the numbers are not in order.
    """
    passed = {"PROTO", "EMPTY_DICT", "MARK", "BINPUT", "LONG_BINPUT", "SETITEMS"}
    words, numbers = [], []
    for instruction, value, position in pickletools.genops(data):
        if instruction.name == "BINUNICODE":
            words.append(value)
        elif instruction.name in ("BININT1", "BININT2", "BININT"):
            numbers.append(value)
        elif instruction.name not in passed | {"STOP"}:
            raise ValueError(
                "data must be a dict from strings to integers; "
                f"instruction {instruction.name} at byte {position}"
            )
    if numbers != list(range(len(words))):
        raise ValueError("data must number its words 0, 1, 2, ... in this order")
    visible = {" ": "<SPACE>", "\u3000": "<U+3000>"}
    return "".join(f"{visible.get(word, word)}\n" for word in words).encode()


class _Reader:
    """The few kinds of objects of R's binary format that a named matrix needs."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, form=">i4", count=1):
        """Reads `count` numbers of a numpy type."""
        start = self.place
        self.place += np.dtype(form).itemsize * count
        return np.frombuffer(self.data, form, count, start)

    def number(self):
        return int(self.take()[0])

    def kind(self, expected):
        """Reads the flags of an object; their low byte must say that kind."""
        kind = self.number() & 255
        if kind != expected:
            raise ValueError(
                f"data must hold an R object of kind {expected} at byte "
                f"{self.place - 4}, got kind {kind}"
            )

    def string(self):
        self.kind(9)
        length = self.number()
        start, self.place = self.place, self.place + length
        return self.data[start : self.place].decode()

    def symbol(self):
        self.kind(1)
        return self.string()


def glove_lines(data: bytes) -> bytes:
    """Returns an R data file of one matrix with row names as lines of GloVe's format.

    A line is the name of the row and its numbers, in the shortest decimal notation
    that gives the same double.

    Raises:
      ValueError: if the file holds anything else before the end of the row names.
    """
    reader = _Reader(lzma.decompress(data))
    if reader.data[:7] != b"RDX2\nX\n":
        raise ValueError(f"data must begin with b'RDX2\\nX\\n', got {reader.data[:7]}")
    reader.place = 7 + 3 * 4  # three version numbers
    reader.kind(2)  # a pair list: the name of the variable and its value
    reader.symbol()
    reader.kind(14)  # doubles
    values = reader.take(">f8", reader.number())
    shape, names = (), []
    while not names:
        reader.kind(2)
        attribute = reader.symbol()
        if attribute == "dim":
            reader.kind(13)
            shape = reader.take(">i4", reader.number()).tolist()
        elif attribute == "dimnames":
            reader.kind(19)
            reader.number()
            reader.kind(16)
            names = [reader.string() for _ in range(reader.number())]
        else:
            raise ValueError(f"data must be a plain matrix; it has a {attribute!r}")
    rows = values.reshape(shape, order="F").tolist()
    return "".join(
        f"{name} {' '.join(map(repr, row))}\n"
        for name, row in zip(names, rows, strict=True)
    ).encode()


def _natural(name):
    """Sorts s2 before s10."""
    return [int(x) if x.isdigit() else x for x in re.split(r"(\d+)", name)]


def _matching(files, patterns):
    chosen = [
        name
        for name in files
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    ]
    return sorted(chosen, key=_natural)


def tar_of(files: Mapping[str, bytes], *patterns: str) -> bytes:
    """Returns a tar archive of the files that match a pattern, in natural order.

    Args:
      files: from paths to contents.
      *patterns: str, shell patterns of paths; ``*`` crosses folders.

    Returns:
      bytes of an archive without owners and times.
    """
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in _matching(files, patterns):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            archive.addfile(entry, io.BytesIO(files[name]))
    return stream.getvalue()


def _scan_lines(png, height, width):
    """Returns the filtered lines of a grey 8-bit PNG, ``[height, 1 + width]``."""
    if png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"an image must be a PNG, got one that begins {png[:8]}")
    place, packed = 8, b""
    while place < len(png):
        length, kind = struct.unpack_from(">I4s", png, place)
        body = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            expected = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
            if body != expected:
                raise ValueError(f"a PNG must be grey, 8 bit, {height} x {width}")
        elif kind == b"IDAT":
            packed += body
        place += length + 12
    size = height * (1 + width)
    lines = zlib.decompressobj().decompress(packed, size)
    if len(lines) != size:
        raise ValueError(f"a PNG must have {size} bytes of pixels, got {len(lines)}")
    return lines


def _grey_images(pngs, height=28, width=28):
    """Decodes equally large grey PNGs together, ``uint8 [B, height, width]``."""
    lines = b"".join(_scan_lines(png, height, width) for png in pngs)
    lines = np.frombuffer(lines, np.uint8).reshape(len(pngs), height, 1 + width)
    kinds, lines = lines[:, :, 0], lines[:, :, 1:].astype(np.int32)
    if kinds.size and kinds.max() > 4:
        raise ValueError(f"a PNG has filters 0 to 4, got {kinds.max()}")
    images = np.zeros((len(pngs), height + 1, width + 1), np.int32)
    for y in range(height):
        for x in range(width):
            left, up = images[:, y + 1, x], images[:, y, x + 1]
            corner = images[:, y, x]
            guess = left + up - corner
            to_left, to_up = np.abs(guess - left), np.abs(guess - up)
            to_corner = np.abs(guess - corner)
            paeth = np.where(to_up <= to_corner, up, corner)
            nearest = (to_left <= to_up) & (to_left <= to_corner)
            paeth = np.where(nearest, left, paeth)
            zero = np.zeros_like(left)
            added = np.choose(kinds[:, y], [zero, left, up, (left + up) // 2, paeth])
            images[:, y + 1, x + 1] = (lines[:, y, x] + added) % 256
    return images[:, 1:, 1:].astype(np.uint8)


def _by_index(files, folder):
    """Returns the paths ``folder/class/index.png`` in the order of the indices."""
    names = fnmatch.filter(files, f"{folder}/*.png")
    return sorted(names, key=lambda name: int(name.split("/")[-1].split(".")[0]))


def idx_images(files: Mapping[str, bytes], folder: str) -> bytes:
    """Returns the grey 28 x 28 images ``folder/class/index.png`` in one idx3 file.

    Args:
      files: from paths to contents.
      folder: str.

    Returns:
      bytes: the header of four big-endian numbers, then a byte a pixel, by index.
    """
    names = _by_index(files, folder)
    images = _grey_images([files[name] for name in names])
    return struct.pack(">IIII", 2051, len(names), 28, 28) + images.tobytes()


def idx_labels(files: Mapping[str, bytes], folder: str) -> bytes:
    """Returns the classes of ``folder/class/index.png`` in one idx1 file, by index."""
    names = _by_index(files, folder)
    labels = bytes(int(name.split("/")[-2]) for name in names)
    return struct.pack(">II", 2049, len(names)) + labels


def sampled_games(
    files: Mapping[str, bytes], folder: str, seed: int, count: int
) -> bytes:
    """Returns a sample of the xiangqi games under a folder as one PGN file.

    The paths are sorted, shuffled with `seed` and walked through. A game is taken if it
    begins with the usual position, if its moves, the result included and the numbers
    of the moves not, have 60 characters or more, and if no game before had the same.

    Args:
      files: from paths to contents in Big5.
      folder: str.
      seed: int.
      count: int, games.

    Returns:
      bytes in UTF-8, a blank line between games.
    """
    names = sorted(name for name in files if name.startswith(folder + "/"))
    random.Random(seed).shuffle(names)
    games, seen = [], set()
    for name in names:
        game = files[name].decode("big5").strip()
        head, _, body = game.partition("\n\n")
        moves = " ".join(word for word in body.split() if not word.endswith("."))
        if _START not in head or len(moves) < 60 or moves in seen:
            continue
        seen.add(moves)
        games.append(game)
        if len(games) == count:
            break
    return ("\n\n".join(games) + "\n").encode()


def apply(published: Any, derivation: tuple) -> bytes:
    """Returns what the registry's derivation makes of what was published.

    Args:
      published: the bytes of a file, or a mapping from the paths of a repository to
        their contents.
      derivation: the name of a function of this module, then its arguments.

    Returns:
      bytes.

    Raises:
      ValueError: if the name is not one of the derivations.
    """
    functions: tuple[Callable[..., bytes], ...] = (
        *(first_lines, odd_lines, first_items, zip_member, vocabulary_lines),
        *(glove_lines, tar_of, idx_images, idx_labels, sampled_games),
    )
    known = {function.__name__: function for function in functions}
    name, *arguments = derivation
    if name not in known:
        raise ValueError(f"derivation must be one of {sorted(known)}, got {name!r}")
    return known[name](published, *arguments)
