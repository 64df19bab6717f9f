"""Where a training begins: parameters of a task taken from a file, by their paths."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.pretrained.families import HEADS
from kexue_jax.pretrained.files import WeightsError
from kexue_jax.pretrained.filling import Report, fill, paths
from kexue_jax.pretrained.loading import SETTINGS, Pretrained
from kexue_jax.pretrained.models import names_of


class Start(NamedTuple):
    """Some parameters to begin with.

    Attributes:
      leaves: their paths in the parameters of the task, and arrays.
      text: what came from where and what did not, for people.
    """

    leaves: dict[str, np.ndarray]
    text: str


def _at(params: Mapping[str, Any], path: str) -> Any:
    for key in path.split("/") if path else ():
        params = params[key]
    return params


def _places(params: Mapping[str, Any], keys: set[str], front: str = "") -> list[str]:
    """The paths of all subtrees that have these keys."""
    if keys <= params.keys():
        return [front]
    found = []
    for key, value in params.items():
        if isinstance(value, Mapping):
            found += _places(value, keys, f"{front}/{key}" if front else key)
    return found


def _head_in(files: Pretrained, params: Mapping[str, Any]) -> str | None:
    """Which head the parameters have and the file has too, in the same shapes."""
    if params.keys() != {"backbone", "head"}:
        return None
    for head in HEADS:
        try:
            names = names_of(files.architecture, head, form=files.form)
            report = fill({"head": params["head"]}, files.arrays, names, partial=True)
        except (KeyError, ValueError):  # it has not this head, or no values to keep
            continue
        if not report.report.missing and not report.report.misshapen:
            return head
    return None


def started(
    params: Mapping[str, Any], files: Pretrained, *, partial: bool = False
) -> Start:
    """Returns the leaves of a task's parameters that a pretrained model has.

    The parameters hold one backbone, anywhere. A head on it is taken from the file if
    the file has it in the same shapes; what else the task has stays as it is drawn.

    Args:
      params: nested dicts; only shapes and dtypes are read.
      files: the model.
      partial: whether parts of the backbone may stay as they are drawn and arrays of
        the file be left over; they are named in the text.

    Raises:
      WeightsError: if there is not one backbone, or the file is not of it.
    """
    is_t5 = files.architecture.family == "t5"
    keys = {"encoder", "decoder"} if is_t5 else {"embeddings", "blocks"}
    found = _places(params, keys)
    if len(found) != 1:
        raise WeightsError(
            f"the parameters must hold one {files.architecture.family} backbone, with "
            f"{' and '.join(sorted(keys))}; found {len(found)}: {found}"
        )
    place, head = found[0], None
    above = place.rpartition("/")[0] if place.endswith("backbone") else place
    if above != place:
        head = _head_in(files, _at(params, above))
    root = above if head else place
    front = f"{root}/" if root else ""
    names = names_of(files.architecture, head, form=files.form)
    filled = _filled(_at(params, root), files, names, partial)
    taken = filled.report.matched
    leaves = {f"{front}{path}": _at(filled.params, path) for path in taken}
    drawn = [path for path, _ in paths(params) if not path.startswith(front)]
    lines = [str(filled.report), *(f"not of the file: {path}" for path in drawn)]
    return Start(leaves, "\n".join(lines))


def _filled(body, files, names, partial):
    if not partial:
        return fill(body, files.arrays, names)
    # Leaves that stay as they are drawn need some value, which is not looked at.
    values = _mapped(
        body, lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape)
    )
    return fill(values, files.arrays, names, partial=True)


def _mapped(tree: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    return {
        key: _mapped(value, change) if isinstance(value, Mapping) else change(value)
        for key, value in tree.items()
    }


def started_from_arrays(
    params: Mapping[str, Any],
    arrays: Mapping[str, Any],
    *,
    partial: bool = False,
    pieces: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Start:
    """Returns the leaves of a task's parameters that another of our runs has.

    Where both hold one backbone, at different places, as an encoder that was pretrained
    and one that something is to be taken out with, the backbone is taken and all else
    stays as it is drawn; both are named in the text. Otherwise leaves are taken by
    their paths.

    Args:
      params: nested dicts; only shapes and dtypes are read.
      arrays: nested dicts, the parameters of the other.
      partial: whether leaves may be missing or of another shape, and others left over.
      pieces: what the tokens of both stand for, first ours. Where they differ the
        vectors of tokens are taken by what they stand for, and tokens that the other
        has not begin with its vector of [UNK].

    Raises:
      WeightsError: if something is missing, misshapen or unexpected, or the other has
        less than half of our tokens, unless `partial`.
    """
    keys = {"embeddings", "blocks"}
    ours_at, theirs_at = _places(params, keys), _places(arrays, keys)
    notes: list[str] = []
    ours, theirs = dict(paths(params)), dict(paths(arrays))
    is_moved = len(ours_at) == len(theirs_at) == 1 and ours_at != theirs_at
    if is_moved:
        notes += [
            f"not of the run: {path}" for path in ours if not _below(path, ours_at[0])
        ]
        notes += [
            f"of the run, and not taken: {path}"
            for path in theirs
            if not _below(path, theirs_at[0])
        ]
        ours = {p: leaf for p, leaf in ours.items() if _below(p, ours_at[0])}
        theirs = {
            _joined(ours_at[0], p[len(theirs_at[0]) :].lstrip("/")): leaf
            for p, leaf in theirs.items()
            if _below(p, theirs_at[0])
        }
    if pieces is not None and len(ours_at) == 1 and [*pieces[0]] != [*pieces[1]]:
        table = _joined(ours_at[0], "embeddings/tokens/embedding")
        if table in theirs:
            theirs[table], note = _rows_by_pieces(theirs[table], *pieces, partial)
            notes.append(f"{table}: {note}")
    report, leaves = _by_paths(ours, theirs)
    if not partial and not report.is_whole():
        raise WeightsError(f"the run is not of this model:\n{report}")
    return Start(leaves, "\n".join([str(report), *notes]))


def _below(path: str, place: str) -> bool:
    return not place or path.startswith(f"{place}/")


def _joined(place: str, path: str) -> str:
    return f"{place}/{path}" if place else path


def _rows_by_pieces(table, ours, theirs, partial) -> tuple[np.ndarray, str]:
    """A table whose rows are in our order, and how many of them the other had."""
    row_of = {piece: row for row, piece in enumerate(theirs)}
    unknown = row_of.get("[UNK]")
    known = sum(piece in row_of for piece in ours)
    if unknown is None or (2 * known < len(ours) and not partial):
        raise WeightsError(
            f"the run has {known} of our {len(ours)} tokens, of which it should have "
            f"half, and {'no' if unknown is None else 'an'} [UNK]"
        )
    found = np.asarray(table)[[row_of.get(piece, unknown) for piece in ours]]
    return found, (
        f"{known} of {len(ours)} tokens are of the run, by what they stand for, and "
        f"{len(ours) - known} begin as its [UNK]"
    )


def _by_paths(ours, theirs) -> tuple[Report, dict[str, np.ndarray]]:
    """What of ours the other has in the same shape, with a report of all."""
    missing, misshapen, leaves = [], {}, {}
    for path, leaf in ours.items():
        if path not in theirs:
            missing.append(path)
            continue
        found = np.asarray(theirs[path])
        if found.shape == tuple(leaf.shape):
            leaves[path] = found.astype(leaf.dtype)
        else:
            misshapen[path] = (tuple(leaf.shape), found.shape)
    report = Report(
        {path: path for path in leaves},
        (),
        {},
        tuple(missing),
        misshapen,
        tuple(path for path in theirs if path not in ours),
        (),
    )
    return report, leaves


def is_pretrained(path: str | os.PathLike) -> bool:
    """Returns whether a path looks like a folder of a pretrained model."""
    folder = pathlib.Path(path)
    weights = [
        w for end in ("safetensors", "bin", "index") for w in folder.glob(f"*.{end}")
    ]
    return bool(weights) and any((folder / name).is_file() for name in SETTINGS)
