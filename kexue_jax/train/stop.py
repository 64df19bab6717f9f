"""SIGTERM, SIGINT and SIGUSR1 ask the loop to save and leave; a second one insists."""

import contextlib
import os
import signal
import threading
from collections.abc import Generator

import jax
from jax.experimental import multihost_utils


class Interrupted(Exception):
    """A signal came while something was done that may be left undone."""


class StopRequest:
    """Remembers that a signal asked this run to stop.

    In one process a Python handler sets a flag, and raises `Interrupted` inside
    `interruptible`. With several processes `jax.distributed` owns the signals, and the
    request is agreed on: all see it at the same step.
    """

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

    def __init__(self):
        self.requested = False
        self._may_raise = False
        self._before = {}

    def __enter__(self) -> "StopRequest":
        alone = jax.process_count() == 1
        if alone and threading.current_thread() is threading.main_thread():
            for number in self.signals:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number, frame) -> None:
        if self.requested:
            os._exit(128 + number)
        self.requested = True
        if self._may_raise:
            raise Interrupted(signal.Signals(number).name)

    def at(self, step: int) -> bool:
        """Returns whether to stop before this step; the same on all processes."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self.requested

    @contextlib.contextmanager
    def interruptible(self) -> Generator[None]:
        """Lets a signal raise `Interrupted` here, at once."""
        if self.requested:
            raise Interrupted
        self._may_raise = True
        try:
            yield
        finally:
            self._may_raise = False
