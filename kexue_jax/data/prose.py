"""Prose that every machine has: the documentation that comes with CPython."""

import ast
import functools
import hashlib
import os
import pathlib
import re
import sysconfig
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

SEPARATOR = "\n\n"


class Prose(NamedTuple):
    """A text to learn from and a text held out, which share no paragraph.

    `parts` are what there is to learn from, the last of them most like `valid`. All are
    passages with empty lines between them.
    """

    parts: tuple[str, ...]
    valid: str

    @property
    def train(self) -> str:
        """All parts as one text."""
        return SEPARATOR.join(self.parts)

    def _texts(self) -> dict[str, str]:
        return {"train": self.train, "valid": self.valid}

    def sizes(self) -> dict[str, int]:
        """Returns the bytes and paragraphs of both texts."""
        return {
            f"{name}_{unit}": size
            for name, text in self._texts().items()
            for unit, size in (
                ("bytes", len(text.encode())),
                ("paragraphs", len(paragraphs(text))),
            )
        }

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the sizes and the SHA-256 of both texts."""
        digests = {
            f"{name}_sha256": hashlib.sha256(text.encode()).hexdigest()
            for name, text in self._texts().items()
        }
        return {**digests, **self.sizes()}


def paragraphs(text: str) -> list[str]:
    """Returns what stands between empty lines, without blank lines at its ends."""
    blocks = re.split(r"\n[ \t]*\n", text)
    return [block.strip("\n").rstrip() for block in blocks if block.strip()]


def same(paragraph: str) -> str:
    """Returns what two paragraphs share that differ only in indentation or wrapping."""
    return " ".join(paragraph.split())


def is_drawn(paragraph: str) -> bool:
    """Whether most lines are those of a table drawn with characters: ``|`` and ``+-``.

    Such tables are runs of spaces and dashes, which any predictor gets for free.
    """
    lines = paragraph.strip().splitlines()
    drawn = [line for line in lines if re.match(r"[ \t]*(\||\+[-=])", line)]
    return 2 * len(drawn) > len(lines)


def passages(documents: dict[str, str], size: int | None = None) -> list[str]:
    """Cuts documents into passages of whole paragraphs, each paragraph used once.

    Documents are taken in the order of their names. A paragraph that occurred before,
    compared without regard to white space, is left out wherever it occurs again, and
    so are tables drawn with characters.

    Args:
      documents: texts by name.
      size: bytes at which a passage is closed; the end of a document closes it too,
        and without a size nothing else does.

    Returns:
      Passages without empty lines at their ends.
    """
    if size is not None and size < 1:
        raise ValueError(f"a passage has at least 1 byte, got size {size}")
    seen, result = set(), []
    for name in sorted(documents):
        passage, length = [], 0
        for paragraph in paragraphs(documents[name]):
            key = same(paragraph)
            if key in seen or is_drawn(paragraph):
                continue
            seen.add(key)
            passage.append(paragraph)
            length += len(paragraph.encode()) + len(SEPARATOR)
            if size is not None and length >= size:
                result.append(SEPARATOR.join(passage))
                passage, length = [], 0
        if passage:
            result.append(SEPARATOR.join(passage))
    return result


def split(pieces: list[str], *, held_out: float, seed: int) -> Prose:
    """Holds out random passages until they make up a share of all bytes.

    Args:
      pieces: at least two passages, no paragraph of which occurs twice.
      held_out: the share, between 0 and 1, of the bytes to hold out.
      seed: the split is a function of it and of the passages alone.

    Returns:
      One part to learn from and the text held out, both in the order of `pieces` and
      neither of them empty.
    """
    if not 0.0 < held_out < 1.0:
        raise ValueError(f"held_out must lie between 0 and 1, got {held_out}")
    if len(pieces) < 2:
        raise ValueError(f"a split needs at least 2 passages, got {len(pieces)}")
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(pieces))
    sizes = np.array([len(piece.encode()) for piece in pieces])[order]
    count = int(np.searchsorted(np.cumsum(sizes), held_out * sizes.sum())) + 1
    chosen = set(order[: min(count, len(pieces) - 1)].tolist())
    sides = ([], [])
    for index, piece in enumerate(pieces):
        sides[index in chosen].append(piece)
    train, valid = (SEPARATOR.join(side) for side in sides)
    return Prose((train,), valid)


def python_topics(*, seed: int = 0, held_out: float = 0.1) -> Prose:
    """Returns CPython's documentation topics (``help('topics')``), split in two.

    Whole topics are held out. About 330 kB remain once repetitions and tables are left
    out. The text belongs to the version of the interpreter: compare fingerprints before
    comparing scores.

    Args:
      seed, held_out: as in `split`.
    """
    from pydoc_data.topics import topics

    return split(passages(topics), held_out=held_out, seed=seed)


def docstrings(
    folder: pathlib.Path | None = None, *, least: int = 80
) -> dict[str, str]:
    """Returns the docstrings of the modules below a folder, by the module's path.

    Args:
      folder: default the standard library of this interpreter, without its tests, its
        programs and what is installed beside it. Files are parsed, never imported.
      least: characters below which a docstring is a label and left out.

    Returns:
      For each file that has any, its docstrings with empty lines between them.

    Raises:
      FileNotFoundError: if there is no Python file below the folder.
    """
    folder = pathlib.Path(folder or sysconfig.get_path("stdlib"))
    found, files = {}, 0
    for path in python_sources(folder):
        files += 1
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # templates and examples of wrong code
            continue
        kept = [text for text in _texts(tree) if len(text) >= least]
        if kept:
            found[path.relative_to(folder).as_posix()] = SEPARATOR.join(kept)
    if not files:
        raise FileNotFoundError(f"there is no Python source below {folder}")
    return found


OTHERS = {
    *("test", "tests", "idle_test", "site-packages", "dist-packages", "pydoc_data"),
    *("idlelib", "lib2to3", "turtledemo", "encodings", "ensurepip"),  # little prose
}


def python_sources(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """The Python files below a folder, in the order of their names."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(set(folders) - OTHERS)
        for name in sorted(names):
            if name.endswith(".py"):
                yield pathlib.Path(place, name)


def _texts(node: ast.AST) -> Iterator[str]:
    """The docstrings of a module, class or function and of those right inside it."""
    if isinstance(
        node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    ):
        yield ast.get_docstring(node) or ""
        for child in node.body:
            yield from _texts(child)


@functools.cache
def _library() -> tuple[str, ...]:
    """The paragraphs of the standard library's docstrings, each of them once."""
    return tuple(
        paragraph
        for passage in passages(docstrings())
        for paragraph in paragraphs(passage)
    )


def python_prose(*, seed: int = 0, held_out: float = 0.1) -> Prose:
    """Returns `python_topics` with the standard library's docstrings to learn from.

    The docstrings, about 1.4 MB, are the first part to learn from and the topics the
    second; those held out are the same, and no paragraph of theirs is in either part.
    As there, the text belongs to the version of the interpreter.

    Args:
      seed, held_out: as in `split`, which splits the topics alone.
    """
    topics = python_topics(seed=seed, held_out=held_out)
    texts = topics.train, topics.valid
    known = {same(paragraph) for text in texts for paragraph in paragraphs(text)}
    fresh = [text for text in _library() if same(text) not in known]
    return Prose((SEPARATOR.join(fresh), topics.train), topics.valid)
