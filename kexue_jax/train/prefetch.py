"""Batches made ahead of the step that wants them."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any

FEWEST, MOST, ROOM = 2, 32, 64 << 20  # batches made ahead, unless asked; bytes of them


class Prefetch:
    """Calls ``make(start)``, ``make(start + 1)`` … in a thread, `depth` ahead.

    As batches are a function of the step alone, nothing is lost when it is dropped. The
    thread is woken once for every half of `depth`, not for every batch: handing over
    costs more than a small batch.

    Args:
      make: gives the batch of a step, on the devices.
      start: the first step.
      stop: the first step that is not made.
      depth: how many may lie ready; None for as many as fit into 64 MiB, from 2 to 32.
    """

    def __init__(
        self,
        make: Callable[[int], Any],
        start: int,
        stop: int,
        *,
        depth: int | None = None,
    ):
        if depth is not None and depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self._make, self._start, self._stop = make, start, stop
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._room: queue.SimpleQueue = queue.SimpleQueue()  # how many more to make
        self._depth, self._taken = depth, 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        room = self._depth or 1
        for step in range(self._start, self._stop):
            room = room or self._room.get()
            if self._closed:
                return
            room -= 1
            try:
                batch = self._make(step)
            except BaseException as error:  # raised where the batch is wanted
                self._ready.put((step, None, error))
                return
            if self._depth is None:
                self._depth = _depth_of(batch)
                room = self._depth - 1
            self._ready.put((step, batch, None))

    def take(self, step: int) -> Any:
        """Returns the batch of a step; steps are taken in order.

        Raises what making it raised, with a note of the step.
        """
        made, batch, error = self._ready.get()
        self._taken += 1
        if 2 * self._taken >= (self._depth or 1):
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


def _depth_of(batch: Any) -> int:
    """How many batches of this size may lie ready."""
    arrays = batch.values() if isinstance(batch, Mapping) else [batch]
    size = sum(getattr(x, "nbytes", 0) for x in arrays)
    return max(FEWEST, min(MOST, ROOM // max(size, 1)))
