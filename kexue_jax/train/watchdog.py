"""A run that hangs ends, with the stacks of all its threads in the log."""

import contextlib
import faulthandler
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import IO

EXIT_HANG = 4


class Watchdog:
    """Ends the process if no step is made for too long.

    Too long is `seconds` or twenty median steps, whichever is longer; compiling,
    evaluating and saving may take `slow_seconds`. The clock is monotonic.

    Args:
      seconds: the least time that counts as hanging.
      slow_seconds: the same for phases other than training.
      grace_seconds: between the stacks and the end.
      stream: where the stacks go; needs a file descriptor.
      leave: ends the process.
    """

    def __init__(
        self,
        seconds: float = 300.0,
        *,
        slow_seconds: float = 7200.0,
        grace_seconds: float = 0.0,
        stream: IO | None = None,
        leave: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ):
        if seconds <= 0 or slow_seconds <= 0:
            raise ValueError(
                f"seconds must be positive, got {seconds} and {slow_seconds}"
            )
        self.seconds, self.slow_seconds = seconds, slow_seconds
        self.grace_seconds = grace_seconds
        self._stream, self._leave, self._clock = stream, leave, clock
        self._durations: deque[float] = deque(maxlen=101)
        self._phase, self._beaten = "setting up", clock()
        self._stop, self._barking = threading.Event(), threading.Lock()

    def __enter__(self) -> "Watchdog":
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        with self._barking:  # one that has begun to end the process ends it
            self._stop.set()

    def beat(self) -> None:
        """Says that a step was made."""
        now = self._clock()
        if self._phase == "training":
            self._durations.append(now - self._beaten)
        self._phase, self._beaten = "training", now

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Names what is done meanwhile; it has `slow_seconds`."""
        before = self._phase
        self._phase, self._beaten = name, self._clock()
        try:
            yield
        finally:
            self._phase, self._beaten = before, self._clock()

    def limit(self) -> float:
        """Returns how many seconds the present phase may take."""
        if self._phase != "training":
            return self.slow_seconds
        median = statistics.median(self._durations) if self._durations else 0.0
        return max(self.seconds, 20.0 * median)

    def _watch(self) -> None:
        pause = min(1.0, self.seconds / 10)
        while not self._stop.wait(pause):
            phase, silent = self._phase, self._clock() - self._beaten
            if silent <= self.limit():
                continue
            with self._barking:
                if self._stop.is_set():
                    return
                stream = self._stream or sys.stderr
                stream.write(
                    f"\nHanging: no progress for {silent:.0f} s while {phase}; "
                    "the stacks of all threads follow.\n"
                )
                stream.flush()
                faulthandler.dump_traceback(stream, all_threads=True)
                stream.flush()
                # its end makes other processes fail: let them find their hang first
                time.sleep(self.grace_seconds)
                self._leave(EXIT_HANG)
                return
