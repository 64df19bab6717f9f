"""Sources and targets in one row, for a model that writes the target: sums, docs."""

import ast
import pathlib
import sysconfig
from collections.abc import Callable, Sequence

import numpy as np

from kexue_jax.data.order import Shuffled
from kexue_jax.data.prediction import Batch, Prediction
from kexue_jax.data.prose import python_sources

SEPARATOR, END = 256, 257
"""Tokens behind the source and behind the target; all others are bytes."""

Pair = tuple[str, str]


def pair_rows(pairs: Sequence[Pair], *, length: int, source_segment: int = 0) -> Batch:
    """Lays pairs out as rows of bytes in which the target is to be predicted.

    Args:
      pairs: texts of source and target.
      length: T, places of a row. A pair takes the bytes of both and one more.
      source_segment: 0 lets the source see itself both ways under
        `kexue_jax.attention.masks.unilm_mask`, 1 from left to right.

    Returns:
      ``tokens``, ``targets``, ``segments`` ``[B, T]`` int32 and ``weight`` ``[B, T]``
      float32, 1 where the target or its end is to be predicted. Segments are
      `source_segment` in the source and at the separator and 1 behind it, so that no
      place sees the padding behind it.

    Raises:
      ValueError: if a pair is longer than a row, or a segment is neither 0 nor 1.
    """
    if source_segment not in (0, 1):
        raise ValueError(f"source_segment must be 0 or 1, got {source_segment}")
    shape = (len(pairs), length)
    tokens, targets = np.full(shape, END, np.int32), np.full(shape, END, np.int32)
    segments, weight = np.ones(shape, np.int32), np.zeros(shape, np.float32)
    for place, (source, target) in enumerate(pairs):
        first, last = source.encode(), target.encode()
        row = [*first, SEPARATOR, *last, END]
        if len(row) - 1 > length:
            raise ValueError(
                f"a pair must take at most length = {length} places, got {len(row) - 1}"
            )
        tokens[place, : len(row) - 1] = row[:-1]
        targets[place, : len(row) - 1] = row[1:]
        segments[place, : len(first) + 1] = source_segment
        weight[place, len(first) : len(row) - 1] = 1.0
    return {
        "tokens": tokens,
        "targets": targets,
        "segments": segments,
        "weight": weight,
    }


def _prediction(
    draw: Callable[[int], Sequence[Pair]],
    valid: Sequence[Pair],
    **options: int,
) -> Prediction:
    return Prediction(
        END + 1,
        lambda step: pair_rows(draw(step), **options),
        {"valid": [pair_rows(valid, **options)]},
    )


def sums(
    *,
    digits: int = 3,
    batch: int = 64,
    seed: int = 0,
    held_out: int = 512,
    source_segment: int = 0,
) -> Prediction:
    """Returns sums of two numbers, ``"347+058"`` to ``"0405"``, digits from the left.

    Args:
      digits: of each number, zeros in front included.
      batch: sums a step.
      seed: of what is drawn.
      held_out: sums held out, none of which is ever drawn to learn from.
      source_segment: as in `pair_rows`.

    Raises:
      ValueError: if a number is out of range.
    """
    if min(digits, batch, held_out) < 1:
        raise ValueError(
            f"digits, batch and held_out must be at least 1, got {digits}, {batch}, "
            f"{held_out}"
        )
    most = 10**digits

    def drawn(generator: np.random.Generator, count: int, apart: bool) -> list[Pair]:
        found: list[Pair] = []
        while len(found) < count:
            a, b = (int(x) for x in generator.integers(0, most, 2))
            if ((a * most + b) % 11 == 0) == apart:
                parts = f"{a:0{digits}}+{b:0{digits}}", f"{a + b:0{digits + 1}}"
                found.append(parts)
        return found

    def draw(step: int) -> list[Pair]:
        key = np.random.Philox(key=[seed, step])
        return drawn(np.random.Generator(key), batch, False)

    key = np.random.Philox(key=[seed, 1 << 40])
    valid = drawn(np.random.Generator(key), held_out, True)
    return _prediction(
        draw, valid, length=3 * digits + 3, source_segment=source_segment
    )


def signatures(folder: pathlib.Path | None = None) -> dict[str, list[Pair]]:
    """Returns the functions below a folder: signatures and first lines of docstrings.

    Args:
      folder: default the standard library of this interpreter, without its tests.
        Files are parsed, never imported.

    Returns:
      For each file that has any, pairs such as
      ``("copy(x)", "Shallow copy operation on arbitrary Python objects.")``, of those
      that are plain ASCII.

    Raises:
      FileNotFoundError: if there is no Python file below the folder.
    """
    folder = pathlib.Path(folder or sysconfig.get_path("stdlib"))
    found: dict[str, list[Pair]] = {}
    files = list(python_sources(folder))
    if not files:
        raise FileNotFoundError(f"there is no Python source below {folder}")
    for path in files:
        try:
            tree = ast.parse(path.read_bytes())
        except SyntaxError:  # templates and examples of wrong code
            continue
        pairs = [
            (f"{node.name}({ast.unparse(node.args)})", text.splitlines()[0].strip())
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and (text := (ast.get_docstring(node) or "").strip())
        ]
        kept = [pair for pair in pairs if "".join(pair).isascii()]
        if kept:
            found[path.relative_to(folder).as_posix()] = kept
    return found


def documented_signatures(
    *,
    length: int = 96,
    batch: int = 32,
    seed: int = 0,
    held_out: int = 8,
    folder: pathlib.Path | None = None,
    source_segment: int = 0,
) -> Prediction:
    """Returns `signatures` with the lines that document them, to be written.

    Whole files are held out, every so-many-th in the order of their names. Equal pairs
    count once, and a line that is learned from is not held out. The text belongs to the
    version of the interpreter: compare fingerprints before comparing scores.

    Args:
      length: T; longer pairs are left out.
      batch: pairs a step.
      seed: of the order of training.
      held_out: every file whose number leaves `held_out` - 1 when divided by it.
      folder: as in `signatures`.
      source_segment: as in `pair_rows`.

    Raises:
      ValueError: if `held_out` is below 2, or nothing is left on a side.
    """
    if held_out < 2:
        raise ValueError(f"held_out must be at least 2, got {held_out}")
    sides: tuple[dict[Pair, None], dict[Pair, None]] = {}, {}
    for place, pairs in enumerate(signatures(folder).values()):
        side = sides[place % held_out == held_out - 1]
        side |= dict.fromkeys(p for p in pairs if len(p[0]) + len(p[1]) < length)
    train, valid = list(sides[0]), list(sides[1])
    lines = {line for _, line in train}
    valid = [pair for pair in valid if pair[1] not in lines]
    if not train or not valid:
        raise ValueError(
            "there must be pairs to learn from and held out, got "
            f"{len(train)} and {len(valid)}"
        )
    order = Shuffled(len(train), batch, seed)
    return _prediction(
        lambda step: [train[i] for i in order.indices(step)],
        valid,
        length=length,
        source_segment=source_segment,
    )
