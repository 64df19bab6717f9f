"""Parameters filled from arrays of another library, and a report of what went where."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from kexue_jax.pretrained.files import WeightsError
from kexue_jax.pretrained.names import Names


class Report(NamedTuple):
    """What became of the arrays of a file.

    Attributes:
      matched: our paths, and the names in the file that filled them.
      transposed: those of our paths whose array was turned.
      cast: those of our paths whose dtype is another than the file's, and both.
      missing: our paths that nothing in the file fills.
      misshapen: our paths, our shape and that which the file would give.
      unexpected: names in the file that are nowhere here, or that should repeat another
        array and do not.
      spare: names in the file that a model of this kind need not have, or that repeat
        another array.
    """

    matched: dict[str, str]
    transposed: tuple[str, ...]
    cast: dict[str, tuple[str, str]]
    missing: tuple[str, ...]
    misshapen: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unexpected: tuple[str, ...]
    spare: tuple[str, ...]

    def is_whole(self) -> bool:
        """Whether everything has its place."""
        return not (self.missing or self.misshapen or self.unexpected)

    def __str__(self) -> str:
        """Lines for people: what does not fit comes by name, the rest is counted."""
        lines = [
            f"{len(self.matched)} arrays matched, {len(self.transposed)} of them "
            f"transposed and {len(self.cast)} cast; {len(self.spare)} not needed"
        ]
        lines += [f"missing: {path}" for path in self.missing]
        lines += [
            f"misshapen: {path} is {ours} here, {theirs} in the file"
            for path, (ours, theirs) in self.misshapen.items()
        ]
        lines += [f"unexpected: {name}" for name in self.unexpected]
        return "\n".join(lines)


class Filled(NamedTuple):
    """Parameters, nested as those that were given, and what they were filled from."""

    params: dict[str, Any]
    report: Report


def paths(params: Mapping[str, Any], front: str = "") -> Iterator[tuple[str, Any]]:
    """Yields every leaf of nested dicts with its path, such as ``a/b/c``."""
    for key, value in params.items():
        path = f"{front}/{key}" if front else str(key)
        if isinstance(value, Mapping):
            yield from paths(value, path)
        else:
            yield path, value


def _nested(leaves):
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *above, last = path.split("/")
        place = tree
        for key in above:
            place = place.setdefault(key, {})
        place[last] = leaf
    return tree


def fill(
    params: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    names: Names,
    *,
    partial: bool = False,
) -> Filled:
    """Returns `params` with every leaf that the file has taken from it.

    Args:
      params: nested dicts of arrays; of what is filled only shape and dtype are read,
        so that ``jax.eval_shape`` can give them.
      arrays: by the names of the file.
      names: what ours are called there.
      partial: whether leaves may stay as they are and arrays be left over.

    Returns:
      Nested dicts of numpy arrays in the dtypes of `params`, and the report.

    Raises:
      WeightsError: if something is missing, misshapen or unexpected and `partial` is
        false, or an array is not finite or no array of numbers; the report is in the
        message.
      ValueError: if `names` knows no such parameter, or a leaf that should stay as it
        is has no values.
    """
    plain = _plain_names(arrays, names)
    leaves, matched, cast, misshapen = {}, {}, {}, {}
    transposed, missing, used = [], [], set()
    for path, ours in paths(params):
        their = names.of(path)
        name = plain.get(their.name)
        found = None if name is None else _part(np.asarray(arrays[name]), their)
        if name is None:
            missing.append(path)
        else:
            used.add(name)
        if found is not None and found.shape != tuple(ours.shape):
            misshapen[path], found = (tuple(ours.shape), found.shape), None
        if found is None:
            leaves[path] = ours
            continue
        leaves[path] = _converted(found, ours.dtype, name)
        matched[path] = name
        if found.dtype != ours.dtype:
            cast[path] = (str(found.dtype), str(ours.dtype))
        if their.transposed:
            transposed.append(path)
    rest = {key: name for key, name in plain.items() if name not in used}
    repeated = tuple(
        name for key, name in rest.items() if _is_repeated(key, plain, arrays, names)
    )
    spare = tuple(
        name
        for key, name in rest.items()
        if name not in repeated and key not in names.same and names.is_spare(key)
    )
    report = Report(
        matched,
        tuple(transposed),
        cast,
        tuple(missing),
        misshapen,
        tuple(name for name in rest.values() if name not in (*spare, *repeated)),
        (*spare, *repeated),
    )
    if not partial and not report.is_whole():
        raise WeightsError(f"the file is not of this model:\n{report}")
    for path in (*missing, *misshapen):
        if not hasattr(leaves[path], "__array__"):
            raise ValueError(f"{path} has no values to stay as it is: give arrays")
        leaves[path] = np.asarray(leaves[path])
    return Filled(_nested(leaves), report)


def _plain_names(arrays, names):
    """The names in a file by those that are in use today."""
    plain: dict[str, str] = {}
    for name in arrays:
        twin = plain.setdefault(names.plain(name), name)
        if twin != name:
            raise WeightsError(f"{name!r} and {twin!r} are one array by two names")
    return plain


def _part(array, their):
    """An array of theirs as ours would be: the part of it, turned if it is to be."""
    if their.stacked and array.shape[:1] == (1,):
        array = array[0]
    if their.part is not None:
        place, count = their.part
        if array.ndim == 0 or array.shape[-1] % count:
            return array  # of a shape that ours cannot have
        size = array.shape[-1] // count
        array = array[..., place * size : (place + 1) * size]
    return array.T if their.transposed else array


def _is_repeated(key, plain, arrays, names):
    """Whether an array is only another one once more."""
    twin = plain.get(names.plain(names.same.get(key, "")))
    if key not in names.same or twin is None:
        return False
    return np.array_equal(arrays[plain[key]], arrays[twin])


def _converted(found, dtype, name):
    """A whole copy in our dtype, if every number in it is finite here."""
    try:
        made = np.array(found, dtype, order="C")
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{name!r} holds {found.dtype}, not {dtype}") from error
    if not np.isfinite(made.astype(np.float32, copy=False)).all():
        raise WeightsError(f"{name!r} holds numbers that are not finite as {dtype}")
    return made


def exported(params: Mapping[str, Any], names: Names) -> dict[str, np.ndarray]:
    """Returns arrays by the names of another library: `fill` gives `params` back.

    If all are of a backbone they are as in files of one, without what stands in front.
    """
    parts: dict[str, dict[int, np.ndarray]] = {}
    counts: dict[str, int] = {}
    theirs = {path: names.of(path) for path, _ in paths(params)}
    is_bare = all(their.name.startswith(names.front) for their in theirs.values())
    for path, leaf in paths(params):
        their = theirs[path]
        name = names.bare(their.name) if is_bare else their.name
        place, counts[name] = their.part or (0, 1)
        array = np.asarray(leaf)
        array = array.T if their.transposed else array
        parts.setdefault(name, {})[place] = array[None] if their.stacked else array
    found = {}
    for name, pieces in parts.items():
        if len(pieces) != counts[name]:
            raise ValueError(f"{name} is of {counts[name]} parts, got {len(pieces)}")
        whole = [pieces[place] for place in range(counts[name])]
        found[name] = np.array(
            whole[0] if len(whole) == 1 else np.concatenate(whole, axis=-1), order="C"
        )
    return found
