"""Keeps the workers of one host at work, and starts those that die anew."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from experiments import configs
from experiments.sweeps.devices import Share
from experiments.sweeps.storage import VARIABLE

EXIT_DYING, EXIT_LATER, EXIT_MORE = 3, 75, 10
PARENT = "KEXUE_PARENT"
IDLE_DEATHS = 5


class _Place:
    """One worker's place: its process now, and how often one died idle there."""

    def __init__(self, name: str, share: Share, start: Callable):
        self.name, self.share, self._start = name, share, start
        self.idle, self.begun = 0, -1
        self.start()

    def start(self) -> None:
        self.process = self._start(self.name, self.share)
        self.code: int | None = None

    def died(self, begun: int) -> None:
        """Counts deaths in a row between which no worker began a trial."""
        self.idle = self.idle + 1 if begun == self.begun else 1
        self.begun = begun


def supervise(
    url: str,
    options: Sequence[str],
    shares: Sequence[Share],
    *,
    begun: Callable[[], int],
    log: Callable[[str], None],
) -> int:
    """Runs a worker for each share until the study is done.

    Args:
      url: of the storage; workers find it in their environment.
      options: of the command ``worker``.
      shares: the devices of each worker.
      begun: returns how many trials have begun; where workers die and none begins,
        no more are started.
      log: takes lines for people.

    Returns:
      0 when all workers have left because nothing is left; 75 if a signal came or the
      storage stayed away; 3 if workers die before they can do anything.
    """

    def start(name: str, share: Share) -> subprocess.Popen:
        command = [
            sys.executable,
            "-m",
            "experiments.sweep",
            "worker",
            *options,
            f"--worker={name}",
        ]
        environment = os.environ | share.environment
        environment |= {VARIABLE: url, PARENT: str(os.getpid())}
        return subprocess.Popen(
            command, env=environment, cwd=configs.ROOT, start_new_session=True
        )  # a signal from the terminal reaches it once, through this process

    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: asked.append(number))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    }
    host = socket.gethostname()
    places = [
        _Place(f"worker {i} of {host}", share, start)
        for i, share in enumerate(shares, 1)
    ]
    for place in places:
        log(f"{place.name}: {place.share.shown}")
    try:
        return _watch(places, asked, begun, log)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for place in places:
            if place.process.poll() is None:
                place.process.kill()


def _watch(places: Sequence[_Place], asked: list[int], begun, log) -> int:
    told = 0
    while True:
        for number in asked[told:]:  # a second signal is passed on as well
            for place in places:
                if place.process.poll() is None:
                    place.process.send_signal(number)
        told = len(asked)
        for place in places:
            if place.code is None:
                place.code = place.process.poll()
                if place.code == EXIT_MORE and not asked:
                    place.start()
                if place.code not in (None, 0, 2, EXIT_LATER) and not asked:
                    place.died(begun())
                    if place.idle < IDLE_DEATHS:
                        log(f"{place.name}: {_how(place.code)}; another one starts")
                        place.start()
                    else:
                        log(f"{place.name}: {_how(place.code)}; no other one starts")
        codes = [place.code for place in places if place.code is not None]
        if len(codes) == len(places):
            if asked or EXIT_LATER in codes:
                return EXIT_LATER
            return max(EXIT_DYING if code < 0 or code > 3 else code for code in codes)
        time.sleep(0.1)


def _how(code: int) -> str:
    if code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
