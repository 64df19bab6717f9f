"""Batches made ahead of the step that wants them."""

import queue
import threading
from collections.abc import Callable
from typing import Any


class Prefetch:
    """Calls ``make(start)``, ``make(start + 1)`` … in a thread, `depth` ahead.

    As batches are a function of the step alone, nothing is lost when it is dropped.

    Args:
      make: gives the batch of a step, on the devices.
      start: the first step.
      stop: the first step that is not made.
      depth: how many may lie ready.
    """

    def __init__(
        self, make: Callable[[int], Any], start: int, stop: int, *, depth: int = 2
    ):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self._make, self._start, self._stop = make, start, stop
        self._ready: queue.Queue = queue.Queue(depth)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for step in range(self._start, self._stop):
            try:
                item = (step, self._make(step), None)
            except BaseException as error:  # raised where the batch is wanted
                item = (step, None, error)
            while not self._closed.is_set():
                try:
                    self._ready.put(item, timeout=0.1)
                    break
                except queue.Full:
                    continue
            if self._closed.is_set() or item[2] is not None:
                return

    def take(self, step: int) -> Any:
        """Returns the batch of a step; steps are taken in order.

        Raises what making it raised, with a note of the step.
        """
        made, batch, error = self._ready.get()
        if error is not None:
            error.add_note(f"while making the batch of step {step}")
            raise error
        if made != step:
            raise RuntimeError(
                f"batches are taken in order: {made} is next, not {step}"
            )
        return batch

    def close(self) -> None:
        """Ends the thread; a batch that is being made is dropped.

        Waits a second for it, as a thread that the interpreter leaves behind may take
        the whole process down; a source that hangs is left behind all the same.
        """
        self._closed.set()
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)
