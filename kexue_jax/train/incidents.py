"""What went wrong in a run and did not end it: ``incidents.jsonl``."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kexue_jax.train.rows import Rows


class Halted(RuntimeError):
    """The run cannot go on: something stays non-finite, or spikes keep coming.

    `whole` says that the state is one to keep.
    """

    def __init__(self, message: str, *, whole: bool):
        super().__init__(message)
        self.whole = whole


class Incidents:
    """The file of incidents, each said to `log` as well.

    Args:
      path: of the file, which need not exist.
      log: takes lines for people.
      enabled: false on processes that write nothing.
    """

    def __init__(self, path: Path, *, log: Callable[[str], None], enabled: bool = True):
        self._rows, self._log = Rows(path, enabled=enabled), log

    def start_from(self, step: int, rollbacks: int) -> None:
        """Drops what comes after a step, and rollbacks that its state has yet to make.

        Args:
          step: that the run goes on from.
          rollbacks: made by then, as the state counts them.
        """
        backs = [row for row in self._rows.rows if row["event"] == "rolled back"]
        for row in backs[rollbacks:]:
            self._rows.rows.remove(row)
        self._rows.cut(step)

    def not_finite(
        self, step: int, first: str, loss: float, number: int, batch: Mapping
    ) -> None:
        """Notes an update that was not made, and the batch that it was to be made of.

        Args:
          step: that the update would have made.
          first: what in it was not finite, see `step.culprits`.
          loss: of the step.
          number: of the batch.
          batch: numpy arrays by name.
        """
        about = {"first": first, "loss": loss, "batch": number, **_examples(batch)}
        self._add(step, "not finite", **about)
        self._log(f"step {step} is not finite, first in {first}; it was not made")

    def rolled_back(self, step: int, spiked: int) -> None:
        """Notes that a run went back to `step` from one whose loss spiked."""
        self._add(step, "rolled back", **{"from": spiked})
        self._log(f"the loss spiked at step {spiked}: back to step {step}")

    def save_failed(self, step: int, error: Exception) -> None:
        """Notes a checkpoint that could not be written."""
        self._log(f"ALARM: {error}; trying again at the next save")
        self._add(step, "save failed")

    def close(self) -> None:
        """Closes the file."""
        self._rows.close()

    def _add(self, step: int, event: str, **about: Any) -> None:
        self._rows.append({"step": step, "event": event, **about})


def _examples(batch: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What identifies the examples of a batch: their index, or a hash."""
    if "index" in batch:
        return {"examples": np.asarray(batch["index"]).tolist()}
    digest = hashlib.sha256()
    for name in sorted(batch):
        digest.update(np.ascontiguousarray(batch[name]).tobytes())
    return {"sha256": digest.hexdigest()}
