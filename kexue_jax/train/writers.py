"""Scores for the trackers that people already use, each an option.

The rows of a run are in its ``scores.jsonl``; a writer sends the same rows elsewhere.
It is made as ``make(workdir=..., start_step=...)`` by the first process only, imports
its package only then, and lets whatever that package raises through.
"""

import importlib
import os
import re
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from kexue_jax.exhibits import Exhibit, Images, Text


class Writer(Protocol):
    """Where scores go; one that can draw has ``show(step, exhibits)`` as well."""

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Sends the scores of one step."""
        ...

    def close(self) -> None:
        """Sends what is still held back; nothing is written after it."""
        ...


class TensorBoard:
    """Event files in ``workdir/tensorboard``.

    Events are written by the caller's own thread, so that a full disk raises here; the
    `SummaryWriter` of tensorboardX loses them in a thread of its own. Files of one run
    are numbered: two that start within a second would otherwise be one.

    Args:
      workdir: directory of the run.
      start_step: the first step that will be written; what earlier processes wrote from
        it on disappears from TensorBoard, as those steps come again.
    """

    def __init__(self, *, workdir: str | os.PathLike[str], start_step: int):
        self._summary: Any = _package("tensorboardX.summary", "tensorboardX")
        self._proto: Any = _package("tensorboardX.proto.event_pb2", "tensorboardX")
        files: Any = _package("tensorboardX.event_file_writer", "tensorboardX")
        folder = Path(workdir) / "tensorboard"
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._file = files.EventsWriter(str(folder / "events"), f".{number:04d}")
        start = self._proto.SessionLog(status=self._proto.SessionLog.START)
        self._add(start_step, session_log=start)
        self._file.flush()

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Adds one point to the chart of each score; nan and infinity are allowed."""
        for name, value in scores.items():
            self._add(step, summary=self._summary.scalar(name, float(value)))
        self._file.flush()

    def show(self, step: int, exhibits: Sequence[Exhibit]) -> None:
        """Adds passages and pictures; a report has the rest."""
        for exhibit in exhibits:
            if isinstance(exhibit, Text):
                passages = "\n\n".join(f"{k}\n\n{_code(v)}" for k, v in exhibit.items)
                self._add(step, summary=self._summary.text(exhibit.title, passages))
            elif isinstance(exhibit, Images):
                for i, picture in enumerate(np.asarray(exhibit.pictures)):
                    picture = np.clip(np.nan_to_num(picture.astype(np.float32)), 0, 1)
                    kind = "HWC" if picture.ndim == 3 else "HW"
                    tag = f"{exhibit.title}/{i}"
                    summary = self._summary.image(tag, picture, dataformats=kind)
                    self._add(step, summary=summary)
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, step: int, **what) -> None:
        event = self._proto.Event(wall_time=time.time(), step=int(step), **what)
        self._file.write_event(event)


class WeightsAndBiases:
    """A run of Weights & Biases, resumed under the id that the run directory keeps.

    Its steps only grow: replayed rows are ignored there with a warning, and equal the
    rows it has. Each process of an offline run leaves a directory of its own in
    ``workdir/wandb``, to be sent by ``wandb sync --append``.

    Args:
      workdir, start_step: as everywhere; the backend keeps its own last step.
      project: name on the server.
      mode: "offline", "online" or "disabled".
    """

    def __init__(
        self,
        *,
        workdir: str | os.PathLike[str],
        start_step: int,
        project: str = "kexue_jax",
        mode: str = "offline",
    ):
        del start_step
        wandb: Any = _package("wandb")
        name = _run_id(workdir)
        self._run = wandb.init(
            project=project,
            id=name,
            name=name,
            dir=str(workdir),
            mode=mode,
            resume="allow",
        )

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Logs one row; nan and infinity are known there."""
        self._run.log(_floats(scores), step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


class MLflow:
    """A run of MLflow, reopened under the id that the run directory keeps.

    MLflow cannot take points back: steps that come again after a restart are two equal
    points there.

    Args:
      workdir, start_step: as everywhere; MLflow has no use for the step.
      experiment: name of the experiment, made where it is missing.
      tracking_uri: a server or a database; default ``workdir/mlflow.db``.
    """

    def __init__(
        self,
        *,
        workdir: str | os.PathLike[str],
        start_step: int,
        experiment: str = "kexue_jax",
        tracking_uri: str | None = None,
    ):
        del start_step
        mlflow: Any = _package("mlflow")
        self._metric: Any = _package("mlflow.entities", "mlflow").Metric
        database = (Path(workdir) / "mlflow.db").resolve()
        client = mlflow.MlflowClient(
            tracking_uri=tracking_uri or f"sqlite:///{database}"
        )
        self._client, kept = client, Path(workdir) / "mlflow_run_id.txt"
        if kept.exists():
            self._run_id = kept.read_text("utf-8").strip()
            client.update_run(self._run_id, status="RUNNING")
            return
        found = client.get_experiment_by_name(experiment)
        home = found.experiment_id if found else client.create_experiment(experiment)
        self._run_id = client.create_run(home, run_name=_run_id(workdir)).info.run_id
        _keep(kept, self._run_id)

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Logs one row and waits for it; a database keeps nan and clips infinity."""
        now = int(1000 * time.time())
        row = [self._metric(k, v, now, step) for k, v in _floats(scores).items()]
        self._client.log_batch(self._run_id, metrics=row, synchronous=True)

    def close(self) -> None:
        """Marks the run as finished."""
        self._client.set_terminated(self._run_id)


class Trackio:
    """A run of Trackio, resumed by the name that the run directory keeps.

    Trackio keeps its database where ``TRACKIO_DIR`` says, writes it in a thread of its
    own, and turns what fails there into a warning. Replayed steps are there twice.

    Args:
      workdir, start_step: as everywhere; Trackio has no use for the step.
      project: name of the project.
    """

    def __init__(
        self,
        *,
        workdir: str | os.PathLike[str],
        start_step: int,
        project: str = "kexue_jax",
    ):
        del start_step
        trackio: Any = _package("trackio")
        self._run = trackio.init(
            project=project,
            name=_run_id(workdir),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def write(self, step: int, scores: Mapping[str, float]) -> None:
        """Logs one row; nan and infinity are known there."""
        self._run.log(_floats(scores), step=step)

    def close(self) -> None:
        """Waits until everything is stored."""
        self._run.finish()


def _package(module: str, package: str | None = None) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = package or module
        extra = "kexue-jax[train]" if package == "tensorboardX" else package
        raise ImportError(
            f"this writer needs {package}: pip install {extra} ({error})"
        ) from error


def _floats(scores: Mapping[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items()}


def _run_id(workdir: str | os.PathLike[str]) -> str:
    """The name of the run for every tracker: made once, then read from the directory.

    It ends in random letters, as the same path may hold another run tomorrow.
    """
    kept = Path(workdir) / "tracker_id.txt"
    if not kept.exists():
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(workdir).resolve().name)[:48]
        _keep(kept, f"{name or 'run'}-{uuid.uuid4().hex[:8]}")
    return kept.read_text("utf-8").strip()


def _keep(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text + "\n", "utf-8")
    os.replace(temporary, path)


def _code(text: str) -> str:
    """Markdown that shows `text` as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines() or [""])
