"""How far a run has come: one line on a terminal, plain lines in a file."""

import contextlib
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Mapping
from typing import TextIO

_MEMORY = 30.0  # seconds over which the rate forgets
_REPAINT = 0.1  # seconds between two drawings of the bar
_PAST = "\r\x1b[K"  # to the start of the line, and erase it


class Progress:
    """Shows steps, loss, rate and the time that is left.

    On a terminal the line is redrawn in place and as wide as the window allows.
    Elsewhere (a file, a pipe, ``TERM=dumb``) a whole line is written every
    `every_seconds`. In both, a row of scores with a name like ``valid/nll``, that is an
    evaluation, gets a line of its own. Scores are turned into floats only when a line
    is drawn, so that a device is not waited for at every step.

    Args:
      total: steps of the whole run; 0 is allowed.
      start: steps made before, by an earlier process.
      stream: where to write; default `sys.stderr`.
      enabled: False writes nothing, as in every process but the first.
      every_seconds: seconds between two plain lines, >= 0.
      clock: seconds that never go back; what it reads where it does is taken for none.

    Raises:
      ValueError: a negative `total`, `start` or `every_seconds`.
    """

    def __init__(
        self,
        total: int,
        *,
        start: int = 0,
        stream: TextIO | None = None,
        enabled: bool = True,
        every_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        given = {"total": total, "start": start, "every_seconds": every_seconds}
        for name, value in given.items():
            if not value >= 0:
                raise ValueError(f"{name} must be >= 0, got {value}")
        self._total, self._step, self._clock = total, start, clock
        self._stream = sys.stderr if stream is None else stream
        self._enabled, self._every = enabled, every_seconds
        self._live = enabled and _is_live(self._stream)
        encoding = getattr(self._stream, "encoding", None) or ""
        self._blocks = "━─" if encoding.lower().startswith("utf") else "#-"
        self._since = self._painted = clock()
        self._pending = self._made = 0.0  # seconds and steps not yet in the rate
        self._steps = self._seconds = 0.0
        self._pauses = 0
        self._scores: Mapping[str, float] = {}
        self._bar = self._closed = False
        self._written = -1  # the step of the latest plain line

    @property
    def rate(self) -> float:
        """Steps per second of late, pauses left out; 0.0 while nothing is known."""
        return self._steps / self._seconds if self._seconds > 0 else 0.0

    def update(self, step: int, scores: Mapping[str, float] | None = None) -> None:
        """Takes note that `step` steps are made, with these scores if any are new."""
        now = self._count()
        self._made += max(0, step - self._step)
        self._step = step
        if self._made and self._pending > 0:
            keep = math.exp(-self._pending / _MEMORY)
            self._steps = keep * self._steps + self._made
            self._seconds = keep * self._seconds + self._pending
            self._made = self._pending = 0.0
        scores = scores or {}
        held_out = {name: value for name, value in scores.items() if "/" in name}
        training = {name: value for name, value in scores.items() if "/" not in name}
        self._scores = training or self._scores
        if not self._enabled or self._closed:
            return
        if held_out:
            self.line(f"step {step}  " + "  ".join(_pairs(held_out)))
        wait = _REPAINT if self._live else self._every
        if now - self._painted >= wait or now < self._painted:
            self._paint(now)

    def go_on_from(self, step: int) -> None:
        """Takes note that a run goes on from a step that another process made."""
        self._count()
        self._step, self._pending, self._made = step, 0.0, 0.0

    def line(self, text: str) -> None:
        """Writes `text` on a line of its own, above the bar if there is one."""
        if not self._enabled:
            return
        self._stream.write((_PAST if self._bar else "") + text + "\n")
        if self._bar:
            self._stream.write(self._line())
        self._stream.flush()

    @contextlib.contextmanager
    def pause(self) -> Generator[None]:
        """Leaves the time within (compiling, evaluating, saving) out of the rate."""
        self._count()
        self._pauses += 1
        try:
            yield
        finally:
            self._count()
            self._pauses -= 1

    def close(self) -> None:
        """Draws the last state and leaves the line; a second call does nothing."""
        if self._enabled and not self._closed:
            if self._live or self._written != self._step:
                self._paint(self._clock())
            if self._bar:
                self._stream.write("\n")
                self._stream.flush()
        self._bar, self._closed = False, True

    def _count(self) -> float:
        """Adds the time since the last call, unless paused; returns the clock."""
        now = self._clock()
        if not self._pauses:
            self._pending += max(0.0, now - self._since)
        self._since = now
        return now

    def _paint(self, now: float) -> None:
        self._painted, self._written = now, self._step
        if self._live:
            self._stream.write(_PAST + self._line())
            self._bar = True
        else:
            self._stream.write(self._line() + "\n")
        self._stream.flush()

    def _line(self) -> str:
        done = min(max(self._step / self._total, 0.0), 1.0) if self._total else 1.0
        scores = dict(self._scores)
        first = {"loss": scores.pop("loss")} if "loss" in scores else {}
        parts = [f"{math.floor(100 * done):3d}%", f"{self._step}/{self._total}"]
        # What matters most comes first and is dropped last on a narrow terminal.
        extra = _pairs(first) + [_rate(self.rate), f"ETA {self._left()}"]
        if not self._live:
            return "  ".join(parts + extra + _pairs(scores))
        room = shutil.get_terminal_size().columns - 1
        for part, spare in [(p, 0) for p in extra] + [(p, 16) for p in _pairs(scores)]:
            if len("  ".join([*parts, part])) <= room - spare:  # spare is for the bar
                parts.append(part)
        width = min(24, room - len("  ".join(parts)) - 2)
        if width >= 6:
            full = round(done * width)
            bar = self._blocks[0] * full + self._blocks[1] * (width - full)
            parts.insert(1, bar)
        return "  ".join(parts)[: max(room, 0)]

    def _left(self) -> str:
        steps, rate = max(0, self._total - self._step), self.rate
        if not steps:
            return "0:00"
        if not rate or not math.isfinite(steps / rate):
            return "-:--"
        minutes, seconds = divmod(round(steps / rate), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        if days:
            return f"{days}d {hours:02d}h"
        return (
            f"{hours}:{minutes:02d}:{seconds:02d}"
            if hours
            else (f"{minutes}:{seconds:02d}")
        )


def _is_live(stream: TextIO) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty and isatty()) and os.environ.get("TERM") != "dumb"


def _pairs(scores: Mapping[str, float]) -> list[str]:
    return [f"{name} {float(value):.4g}" for name, value in scores.items()]


def _rate(rate: float) -> str:
    if not rate:
        return "- steps/s"
    return f"{rate:.3g} steps/s" if rate >= 1 else f"{1 / rate:.3g} s/step"
