"""What the loop is told, and what it concludes from the rows it has written."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How long, how often and how carefully the loop runs; all in steps.

    Attributes:
      steps: updates to make; 0 evaluates what `init` gives.
      seed: of the parameters and of everything drawn in a step.
      micro_batches: parts that each batch is split into; one step stays one update.
      compute_dtype: ``float32`` or ``bfloat16``, inside the loss.
      log_every, eval_every, save_every: intervals; the last step is always logged,
        evaluated and saved. No `eval_every` evaluates at the start and the end.
      keep: how many of the newest checkpoints stay.
      best: the score whose best checkpoint is kept and reported, if any.
      best_mode: ``min`` or ``max``.
      patience: evaluations without a better `best` after which the run ends.
      max_skips: updates in a row that are passed over because something in them is not
        finite; one more stops the run. 0 stops at the first.
      spike_factor: a logged loss above this many medians of the rows before it rolls
        the run back to a checkpoint from before it, and passes over the batches since.
      spike_window: how many logged rows the median is over.
      max_rollbacks: rollbacks in all; one more stops the run.
      on_save_failure: ``stop``, or ``continue`` to try again at the next save.
      prefetch: batches made ahead; by default as many as fit into 64 MiB, from 2 to 32.
      hang_seconds: time without a step (or 20 median steps, if longer) after which the
        process ends.
    """

    steps: int
    seed: int = 0
    micro_batches: int = 1
    compute_dtype: str = "float32"
    log_every: int = 10
    eval_every: int | None = None
    save_every: int = 500
    keep: int = 2
    best: str | None = None
    best_mode: str = "min"
    patience: int | None = None
    max_skips: int = 0
    spike_factor: float | None = None
    spike_window: int = 20
    max_rollbacks: int = 3
    on_save_failure: str = "stop"
    prefetch: int | None = None
    hang_seconds: float = 300.0

    def __post_init__(self):
        least = dict(
            steps=0, log_every=1, save_every=1, keep=1, max_skips=0, prefetch=1
        )
        least |= dict(micro_batches=1, spike_window=1, max_rollbacks=0)
        least |= dict(eval_every=1, patience=1)
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name} must be at least {bound}, got {value}")
        choices = dict(best_mode=("min", "max"), on_save_failure=("stop", "continue"))
        choices |= dict(compute_dtype=("float32", "bfloat16"))
        for name, words in choices.items():
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} must be one of {words}, got {getattr(self, name)!r}"
                )
        if self.patience is not None and self.best is None:
            raise ValueError("patience needs best, the score that it waits for")
        if self.spike_factor is not None and self.spike_factor <= 1:
            raise ValueError(f"spike_factor must be above 1, got {self.spike_factor}")


def best_of(rows: Sequence[Mapping], name: str, mode: str) -> tuple[int, int] | None:
    """Returns the step with the best value of a score and the evaluations since.

    The first of equals is best; rows without the score do not count.
    """
    best, since = None, 0
    for row in rows:
        value = row.get(name)
        if value is None:
            since += name in row
            continue
        if best is None or (value < best[1] if mode == "min" else value > best[1]):
            best, since = (row["step"], value), 0
        else:
            since += 1
    return None if best is None else (best[0], since)


def is_spike(rows: Sequence[Mapping], factor: float, window: int) -> bool:
    """Returns whether the last logged loss is above `factor` medians of the others."""
    losses = [row["loss"] for row in rows if row.get("loss") is not None]
    before = losses[-1 - window : -1]
    return len(before) >= max(1, window // 2) and losses[-1] > factor * abs(
        statistics.median(before)
    )
