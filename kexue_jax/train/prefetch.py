"""Batches made ahead of the step that wants them."""

import queue
import threading
from collections.abc import Callable
from typing import Any


class Prefetch:
    """Calls ``make(start)``, ``make(start + 1)`` … in a thread, `depth` ahead.

    As batches are a function of the step alone, nothing is lost when it is dropped. The
    thread is woken once for every half of `depth`, not for every batch: handing over
    costs more than a small batch.

    Args:
      make: gives the batch of a step, on the devices.
      start: the first step.
      stop: the first step that is not made.
      depth: how many may lie ready.
    """

    def __init__(
        self, make: Callable[[int], Any], start: int, stop: int, *, depth: int = 4
    ):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self._make, self._start, self._stop = make, start, stop
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._room: queue.SimpleQueue = queue.SimpleQueue()  # how many more to make
        self._room.put(depth)
        self._taken, self._half = 0, (depth + 1) // 2
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        room = 0
        for step in range(self._start, self._stop):
            room = room or self._room.get()
            if self._closed:
                return
            room -= 1
            try:
                self._ready.put((step, self._make(step), None))
            except BaseException as error:  # raised where the batch is wanted
                self._ready.put((step, None, error))
                return

    def take(self, step: int) -> Any:
        """Returns the batch of a step; steps are taken in order.

        Raises what making it raised, with a note of the step.
        """
        made, batch, error = self._ready.get()
        self._taken += 1
        if self._taken == self._half:
            self._room.put(self._taken)
            self._taken = 0
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
        self._closed = True
        self._room.put(1)
        if self._thread is not threading.current_thread():
            self._thread.join(1.0)
