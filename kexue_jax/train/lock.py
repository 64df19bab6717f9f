"""One run, one directory: a second process is refused."""

import errno
import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

STALE_SECONDS = 300.0


class Locked(RuntimeError):
    """Another process is using the directory; the message says which."""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class WorkdirLock:
    """Holds a directory for this process while the ``with`` block runs.

    The kernel lets go of the lock when the process dies, however it dies. Where a file
    system does not carry locks between hosts, a heartbeat does: the file is touched
    every 30 seconds, and a lock of another host counts until its last touch, by the
    file server's own clock, is five minutes old.

    Raises:
      Locked: on entering, if another process holds it; it names host and process.
    """

    def __init__(self, folder: Path, *, heartbeat_seconds: float = 30.0):
        self.path = Path(folder) / "LOCK"
        self.heartbeat_seconds = heartbeat_seconds
        self._file: Any = None
        self._stop = threading.Event()

    def __enter__(self) -> "WorkdirLock":
        import fcntl

        self._file = open(self.path, "a+", encoding="utf-8")
        held = False
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                self._file.close()
                raise
            held = True
        self._file.seek(0)
        try:
            owner = dict(json.loads(self._file.read() or "{}"))
        except (ValueError, TypeError, RecursionError):
            owner = {}
        if not held and owner and owner.get("host") != socket.gethostname():
            held = self._alive_elsewhere(owner)
        if held:
            self._file.close()
            raise Locked(
                f"{self.path.parent} is in use by process {owner.get('pid', '?')} on "
                f"{owner.get('host', '?')}, since {owner.get('since', '?')}; use "
                "another workdir, or end that process first"
            )
        self._write(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "boot": _boot(),
                "inode": os.fstat(self._file.fileno()).st_ino,
                "since": time.strftime("%Y-%m-%d %H:%M:%S"),
            }
        )
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def _alive_elsewhere(self, owner: dict) -> bool:
        """Whether another host touched this very file less than five minutes ago."""
        stat = os.fstat(self._file.fileno())
        if owner.get("inode") != stat.st_ino:  # the directory is a copy
            return False
        probe = self.path.with_name(f"LOCK.{os.getpid()}.now")
        probe.touch()  # the file server's clock, not ours
        now = probe.stat().st_mtime
        probe.unlink()
        return now - stat.st_mtime < STALE_SECONDS

    def is_there(self) -> bool:
        """Returns whether the folder still is the one that was locked."""
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._file.fileno()))
        except OSError:
            return False

    def _write(self, owner: dict) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps(owner))
        self._file.flush()

    def _beat(self) -> None:
        while not self._stop.wait(self.heartbeat_seconds):
            try:
                os.utime(self.path)
            except OSError:
                return  # the directory is gone; the next save says so

    def __exit__(self, *exception) -> None:
        self._stop.set()
        try:
            self._write({})
        finally:
            self._file.close()
