"""Checkpoints that are whole or not there: Orbax, with a manifest of hashes.

A checkpoint is a folder named by its step, which holds ``state`` (written by Orbax, one
array a leaf, named by its path) and ``manifest.json``: the size and sha256 of every
file, the dtype and shape of every leaf, what data the run saw, and the loop's notes.
The manifest is written last and deleted first, so a folder with one was whole, and its
hashes say whether it still is. ``committed.json`` beside the folders remembers that
there once was a whole one, so that a run never starts afresh over lost work.
"""

import concurrent.futures
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from kexue_jax.train.step import describe_leaf, leaf_names

_NEVER = 4_000_000_000  # seconds; Orbax counts them on the wall clock, which may jump


class CheckpointError(RuntimeError):
    """There are checkpoints, but none that this run may go on from."""


class SaveError(RuntimeError):
    """A checkpoint could not be written; those before it are whole."""


class Restored(NamedTuple):
    """A state, its step and the notes that were saved with it."""

    step: int
    state: Any
    notes: Mapping[str, Any]


def write_atomically(path: Path, text: str) -> None:
    """Writes a file that is either the old one or the whole new one.

    What a killed process left of it is written over: a file has one writer.
    """
    partial = path.with_name(f"{path.name}.partial")
    with open(partial, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _name(step: int) -> str:
    return f"{step:08d}"


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and name == _name(int(name))


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(folder: Path) -> dict[str, list]:
    """Size and sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sums = pool.map(_sha256, files)
        return {
            path.relative_to(folder).as_posix(): [path.stat().st_size, digest]
            for path, digest in zip(files, sums, strict=True)
        }


def _seal(manifest: Mapping[str, Any]) -> str:
    """The sha256 of what a manifest says."""
    rest = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _damage(folder: Path, manifest: Mapping[str, Any]) -> str:
    """What differs between a folder and its manifest, or an empty string."""
    if manifest["sha256"] != _seal(manifest):
        return "manifest.json has changed (its sha256 differs)"
    if folder.name != _name(manifest["step"]):
        return f"manifest.json is that of step {manifest['step']}"
    have, want = _hashes(folder / "state"), manifest["files"]
    for name in sorted(have.keys() | want.keys()):
        if name not in have:
            return f"{name} is missing"
        if name not in want:
            return f"{name} was not there when it was saved"
        if have[name][0] != want[name][0]:
            return f"{name} has {have[name][0]} bytes instead of {want[name][0]}"
        if have[name][1] != want[name][1]:
            return f"{name} has changed (its sha256 differs)"
    return ""


def _flat(tree: Any) -> dict[str, Any]:
    return dict(zip(leaf_names(tree), jax.tree.leaves(tree), strict=True))


def compare_leaves(have: Mapping[str, str], want: Mapping[str, str]) -> str:
    """Returns how a checkpoint's leaves differ from a run's, or an empty string."""
    lines = [
        f"missing in the checkpoint: {name} {want[name]}" for name in want.keys() - have
    ]
    lines += [
        f"unexpected in the checkpoint: {name} {have[name]}"
        for name in have.keys() - want
    ]
    lines += [
        f"different: {name} is {have[name]} in the checkpoint, {want[name]} in this run"
        for name in have.keys() & want
        if have[name] != want[name]
    ]
    more = [f"… and {len(lines) - 40} more"] if len(lines) > 40 else []
    return "\n  ".join(sorted(lines)[:40] + more)


def compare_data(have: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    """Returns how the data of a checkpoint differ from a run's, or an empty string."""
    return "\n  ".join(
        f"{name}: {have.get(name)!r} in the checkpoint, {want.get(name)!r} in this run"
        for name in sorted(have.keys() | want)
        if have.get(name) != want.get(name)
    )


class Checkpoints:
    """The checkpoints of one run.

    Args:
      folder: where they lie; made when the first is saved.
      keep: how many of the newest stay.
      data: what the data of the run are; a checkpoint made with others is refused.
      allow_data_change: says a change of data in `log` instead.
      log: takes lines for people.

    All methods are called by every process; the files beside Orbax's are written by
    process 0, which also decides what is restored.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 2,
        data: Mapping[str, Any] | None = None,
        allow_data_change: bool = False,
        log: Callable[[str], None] = lambda line: None,
    ):
        if keep < 1:
            raise ValueError(f"keep must be at least 1, got {keep}")
        self.folder, self.keep, self.log = Path(folder).absolute(), keep, log
        self.data = json.loads(json.dumps(dict(data or {})))
        self.allow_data_change = allow_data_change
        self.protected: set[int] = set()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._saving = 0
        self._chief = jax.process_index() == 0
        self._home = self.folder.parent.stat().st_ino

    def path(self, step: int) -> Path:
        """Returns the folder of a step."""
        return self.folder / _name(step)

    def steps(self) -> list[int]:
        """Returns the steps with a manifest, in order; their files are not checked."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(path.name)
            for path in self.folder.iterdir()
            if _is_step(path.name) and (path / "manifest.json").is_file()
        )

    # Writing

    def save(self, step: int, state: Any, notes: Mapping[str, Any] | None = None):
        """Starts to write a checkpoint; it is whole once `wait` or `check` is content.

        Waits for the save before it. Host copies are made before it returns, so the
        state's buffers may be given up.

        Raises:
          SaveError: if this save could not start, or the one before it failed.
        """
        from orbax.checkpoint import v1 as ocp

        self.wait()
        leaves = {name: x for name, x in _flat(state).items() if x.size}
        response, problem = None, None
        try:
            if self._chief:
                self._clear(step)
        except OSError as error:
            problem = error
        self._agree(step, problem)
        context = ocp.Context()
        context.asynchronous.timeout_secs = _NEVER
        try:
            with context:
                response = ocp.save_async(str(self.path(step) / "state"), leaves)
        except Exception as error:
            problem = error
        self._agree(step, problem)
        manifest = {
            "step": step,
            "leaves": {name: describe_leaf(x) for name, x in _flat(state).items()},
            "data": self.data,
            "notes": dict(notes or {}),
        }
        self._saving = step
        self._thread = threading.Thread(
            target=self._finish, args=(step, response, manifest), daemon=True
        )
        self._thread.start()

    def _clear(self, step: int) -> None:
        """Makes room for a checkpoint; raises OSError if there is none."""
        if self.folder.parent.stat().st_ino != self._home:
            raise OSError(f"{self.folder.parent} was replaced by another folder")
        self.folder.mkdir(exist_ok=True)
        self.prune()
        if self.path(step).exists():
            self._remove(self.path(step))

    def _agree(self, step: int, problem: Exception | None) -> None:
        """Raises on every process what went wrong on any."""
        failed = problem is not None
        if jax.process_count() > 1:
            failed = multihost_utils.process_allgather(np.int32(failed)).any()
        if isinstance(problem, SaveError):
            raise problem
        if problem is not None:
            raise self._failed(step, problem) from problem
        if failed:
            raise self._failed(step, OSError("another process says why"))

    def _finish(self, step: int, response: Any, manifest: dict) -> None:
        """Waits for Orbax, then writes the manifest; runs in a thread of its own."""
        try:
            response.result()
            if self._chief:
                folder = self.path(step)
                manifest["files"] = _hashes(folder / "state")
                manifest["sha256"] = _seal(manifest)
                write_atomically(
                    folder / "manifest.json", json.dumps(manifest, indent=1)
                )
                committed = json.dumps({"step": step})
                write_atomically(self.folder / "committed.json", committed)
        except Exception as error:  # handed to the loop by check()
            self._error = self._failed(step, error)

    def _failed(self, step: int, error: BaseException) -> SaveError:
        if self._chief:
            shutil.rmtree(self.path(step), ignore_errors=True)
        whole = self.steps()
        kept = f"step {whole[-1]} is the last whole one" if whole else "there is none"
        return SaveError(
            f"the checkpoint of step {step} was not saved ({error}); {kept}"
        )

    def check(self) -> None:
        """Raises `SaveError` if a save has failed by now.

        With several processes `wait` does, where all of them hear of it.
        """
        if self._thread is None or self._thread.is_alive():
            return
        if jax.process_count() == 1:
            self.wait()

    def wait(self) -> None:
        """Waits until the checkpoint is whole; raises `SaveError` if it failed."""
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        self._agree(self._saving, error)

    def prune(self) -> None:
        """Deletes all but the newest `keep` and the protected."""
        for step in self.steps()[: -self.keep]:
            if step not in self.protected:
                self._remove(self.path(step))

    def _remove(self, folder: Path) -> None:
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder)

    def roll_back(self, step: int) -> None:
        """Moves the checkpoints after a step aside, into ``rolled_back``."""
        self.wait()
        if self._chief:
            aside = self.folder / "rolled_back"
            aside.mkdir(exist_ok=True)
            for later in self.steps():
                if later > step:
                    shutil.rmtree(aside / self.path(later).name, ignore_errors=True)
                    os.replace(self.path(later), aside / self.path(later).name)
        _barrier("checkpoint: roll back")

    # Reading

    def restore(
        self, like: Any, *, before: int | None = None, every: int = 1
    ) -> Restored | None:
        """Returns the newest whole checkpoint, or None if none was ever saved.

        A damaged one is renamed, said in `log`, and the one before it is tried.

        Args:
          like: the state of the run as `jax.ShapeDtypeStruct` with shardings, of any
            mesh.
          before: take none of this step or later.
          every: take only steps that this divides.

        Raises:
          CheckpointError: if all are damaged, or the newest whole one is of another
            model, optimizer or data; it says what differs.
        """
        found, problem = None, None
        if self._chief:
            try:
                found = self._newest(_flat(like), before, every)
            except CheckpointError as error:
                problem = error
        code = -2 if problem else -1 if found is None else found
        code = int(multihost_utils.broadcast_one_to_all(np.int32(code)))
        if code == -2:
            raise problem or CheckpointError(
                "process 0 found no checkpoint to go on from"
            )
        return None if code == -1 else self.read(code, like)

    def _newest(self, like: Mapping, before: int | None, every: int) -> int | None:
        """The newest step that is whole and fits; sets the damaged aside."""
        tried = []
        for step in reversed(self.steps()):
            if (before is not None and step >= before) or step % every:
                continue
            folder = self.path(step)
            try:
                manifest = read_manifest(folder)
            except CheckpointError as error:
                tried.append(f"step {step}: {error}")
                self.log(str(error))
                continue
            self._check_fits(step, manifest, like)
            self._check_data(step, manifest)
            self._set_aside(tried, step)
            return step
        committed = self.folder / "committed.json"
        if tried or (committed.exists() and before is None):
            lines = "\n  ".join(tried or ["no folder with a manifest is left"])
            raise CheckpointError(
                f"no checkpoint in {self.folder} is whole:\n  {lines}\n"
                "Nothing was changed. Restore one from a copy, or start afresh in "
                "another workdir."
            )
        return None

    def _set_aside(self, tried: list[str], good: int) -> None:
        """Renames the damaged and removes what a killed save left, once one is good."""
        for step in self.steps():
            if step > good and any(line.startswith(f"step {step}:") for line in tried):
                name, count = f"{self.path(step).name}.bad", 1
                while (self.folder / name).exists():
                    count += 1
                    name = f"{self.path(step).name}.bad-{count}"
                os.replace(self.path(step), self.folder / name)
                self.log(f"moved it to {name}; going on from step {good}")
        for path in self.folder.iterdir():
            if _is_step(path.name) and not (path / "manifest.json").is_file():
                self.log(f"removing {path.name}, which was never finished")
                shutil.rmtree(path)

    def _check_fits(self, step: int, manifest: Mapping, like: Mapping) -> None:
        want = {name: describe_leaf(x) for name, x in like.items()}
        wrong = compare_leaves(manifest["leaves"], want)
        if wrong:
            raise CheckpointError(
                f"the checkpoint of step {step} in {self.folder} is of another model "
                f"or optimizer:\n  {wrong}"
            )

    def _check_data(self, step: int, manifest: Mapping) -> None:
        changed = compare_data(manifest["data"], self.data)
        if changed and not self.allow_data_change:
            raise CheckpointError(
                f"the data changed since step {step}:\n  {changed}\n"
                "Use another workdir, or --allow_data_change to go on all the same."
            )
        if changed:
            self.log(f"going on from step {step} with other data:\n  {changed}")

    def verify(self, step: int, like: Any) -> None:
        """Raises `CheckpointError` unless a step is whole and of this run's shape."""
        manifest = read_manifest(self.path(step))
        self._check_fits(step, manifest, _flat(like))

    def read(self, step: int, like: Any) -> Restored:
        """Returns the checkpoint of a step, unchecked, placed as `like` says."""
        from orbax.checkpoint import v1 as ocp

        tree = jax.tree.structure(like)
        names, leaves = leaf_names(like), jax.tree.leaves(like)
        wanted = {
            name: leaf for name, leaf in zip(names, leaves, strict=True) if leaf.size
        }
        loaded = ocp.load(str(self.path(step) / "state"), wanted)
        empty = [
            loaded[name] if name in loaded else np.zeros(leaf.shape, leaf.dtype)
            for name, leaf in zip(names, leaves, strict=True)
        ]
        manifest = json.loads((self.path(step) / "manifest.json").read_text("utf-8"))
        return Restored(step, jax.tree.unflatten(tree, empty), manifest["notes"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns the manifest of one checkpoint, whose files are as it says.

    Raises:
      CheckpointError: if the folder is no checkpoint, or is damaged.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        reason = _damage(folder, manifest)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{folder} is no whole checkpoint: {error!r}") from error
    if reason:
        raise CheckpointError(f"{folder} is damaged: {reason}")
    return manifest


def read_arrays(folder: Path, prefixes: Iterable[str] = ("params/",)) -> dict[str, Any]:
    """Returns arrays of one checkpoint by path, on the host, whatever device made them.

    Args:
      folder: of one step, such as ``runs/x/checkpoints/00001000``.
      prefixes: of the paths wanted, such as ``params/`` or ``extras/``.

    Raises:
      CheckpointError: if the folder is no checkpoint, or is damaged.
    """
    from orbax.checkpoint import v1 as ocp

    folder = Path(folder).absolute()
    manifest = read_manifest(folder)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted = {}
    for name, text in manifest["leaves"].items():
        dtype, _, shape = text.partition("[")
        dims = tuple(int(n) for n in shape.rstrip("]").split(",") if n)
        number = not dtype.startswith("key<")  # keys are no numbers to look at
        if number and name.startswith(tuple(prefixes)) and 0 not in dims:
            wanted[name] = jax.ShapeDtypeStruct(dims, dtype, sharding=here)
    context = ocp.Context()
    context.pytree.loading.partial_load = True
    with context:
        loaded = ocp.load(str(folder / "state"), wanted)
    return {name: np.asarray(x) for name, x in loaded.items()}


def _barrier(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
