"""Where a training begins: parameters of a task taken from a file, by their paths."""

import os
import pathlib
from collections.abc import Callable, Mapping
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
    params: Mapping[str, Any], arrays: Mapping[str, Any], *, partial: bool = False
) -> Start:
    """Returns the leaves of a task's parameters that another of our runs has.

    Args:
      params: nested dicts; only shapes and dtypes are read.
      arrays: nested dicts, the parameters of the other.
      partial: whether leaves may be missing or of another shape, and others left over.

    Raises:
      WeightsError: if something is missing, misshapen or unexpected, unless `partial`.
    """
    theirs, leaves = dict(paths(arrays)), {}
    missing, misshapen, used = [], {}, set()
    for path, ours in paths(params):
        if path not in theirs:
            missing.append(path)
            continue
        used.add(path)
        found = np.asarray(theirs[path])
        if found.shape == tuple(ours.shape):
            leaves[path] = found.astype(ours.dtype)
        else:
            misshapen[path] = (tuple(ours.shape), found.shape)
    report = Report(
        {path: path for path in leaves},
        (),
        {},
        tuple(missing),
        misshapen,
        tuple(path for path in theirs if path not in used),
        (),
    )
    if not partial and not report.is_whole():
        raise WeightsError(f"the run is not of this model:\n{report}")
    return Start(leaves, str(report))


def is_pretrained(path: str | os.PathLike) -> bool:
    """Returns whether a path looks like a folder of a pretrained model."""
    folder = pathlib.Path(path)
    weights = [
        w for end in ("safetensors", "bin", "index") for w in folder.glob(f"*.{end}")
    ]
    return bool(weights) and any((folder / name).is_file() for name in SETTINGS)
