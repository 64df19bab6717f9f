"""Where a study is kept: SQLite on one host, PostgreSQL or a gRPC proxy for more.

A storage that goes away is waited for. What it is asked again may have been done
before it went, so that every change here can be made twice; see `slots`.
"""

import inspect
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, RDBStorage, get_storage

from experiments.configs import ConfigError

VARIABLE = "KEXUE_STORAGE"
"""The environment variable that may hold the address, with a password in it."""


class StorageGone(RuntimeError):
    """A storage has not answered for too long; what was recorded is recorded."""


def address(given: str | None, file: str | None, default: Path) -> str:
    """Returns the address of a storage.

    Args:
      given: what was typed; no password, as others see command lines.
      file: one that holds the address, if any.
      default: a file of SQLite for where neither is given, nor `VARIABLE` set.

    Raises:
      ConfigError: if there is a password in `given`, or `file` cannot be read.
    """
    if given and file:
        raise ConfigError("--storage and --storage_file: give one of them")
    if given:
        if shown(given) != given:
            raise ConfigError(
                "--storage: a password on a command line is seen by every user of the "
                f"machine. Put the whole address into ${VARIABLE} or a file named by "
                "--storage_file, or the password into ~/.pgpass"
            )
        return given
    if file:
        try:
            return Path(file).read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(f"--storage_file: {error}") from error
    if os.environ.get(VARIABLE):
        return os.environ[VARIABLE]
    return f"sqlite:///{default.absolute()}"


def shown(url: str) -> str:
    """Returns an address without its password, for people."""
    if url.startswith("grpc://"):
        return url
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:  # its message would repeat the address
        raise ConfigError(
            "--storage: expected sqlite:///file, postgresql+psycopg://user@host/name "
            "or grpc://host:port"
        ) from None


def open_storage(
    url: str, *, patience: float, log: Callable[[str], None] = lambda line: None
) -> BaseStorage:
    """Returns a storage that waits for one that is away.

    Args:
      url: ``sqlite:///file``, ``postgresql+psycopg://user@host/name``, another of
        SQLAlchemy's, or ``grpc://host:port``.
      patience: seconds that it may be away.
      log: takes a line when it goes and when it comes back.

    Raises:
      ConfigError: if the address cannot be used.
      StorageGone: if it does not answer for so long, now or at any later call.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return Patient(lambda: _connect(url), patience=patience, what=shown(url), log=log)


def _connect(url: str) -> BaseStorage:
    if url.startswith("grpc://"):
        host, colon, port = url.removeprefix("grpc://").rpartition(":")
        if not (colon and host and port.isdecimal()):
            raise ConfigError(f"--storage: expected grpc://host:port, got {url!r}")
        proxy = GrpcStorageProxy(host=host, port=int(port))
        proxy.wait_server_ready(timeout=5)
        return proxy
    from sqlalchemy.exc import NoSuchModuleError

    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60, "isolation_level": None}
    try:
        made = RDBStorage(url, engine_kwargs=options)
    except (ImportError, NoSuchModuleError) as error:
        raise ConfigError(
            f"--storage: no driver for {shown(url)}: {error.__cause__ or error}; for "
            "PostgreSQL install psycopg[binary] and write postgresql+psycopg://"
        ) from error
    if url.startswith("sqlite"):
        _lock_before_reading(made.engine)
    return get_storage(made)


def _lock_before_reading(engine: Any) -> None:
    """Makes every transaction of SQLite exclude all others from its start.

    Python's driver begins one only at the first change. Optuna reads a trial's state
    and then changes it, and there two workers would take the same trial: SQLite knows
    no ``SELECT ... FOR UPDATE``. A log written ahead spares each a wait for the disk.
    """
    from sqlalchemy import event

    def connected(connection, record):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    event.listen(engine, "connect", connected)
    event.listen(
        engine,
        "begin",
        lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"),
    )
    engine.dispose()  # connections that were made before


def _is_away(error: Any) -> bool:
    """Whether a storage failed because it is away, and may come back."""
    if isinstance(error, StorageInternalError | ConnectionError):
        return True
    home = type(error).__module__.partition(".")[0]
    if home == "grpc" and hasattr(error, "code"):
        return error.code().name in ("UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED")
    return home == "sqlalchemy" and type(error).__name__ in (
        "OperationalError",
        "InterfaceError",
        "DBAPIError",
    )


class _Insists:
    """Makes every call of a storage again until it is answered."""

    def __init__(
        self,
        connect: Callable[[], BaseStorage],
        *,
        patience: float,
        what: str,
        log: Callable[[str], None],
    ):
        self.outages = 0
        self._patience, self._what, self._log = patience, what, log
        self._storage = self._insist(connect)

    def _insist(self, call: Callable[[], Any]) -> Any:
        began, pause, said = 0.0, 0.0, False
        while True:
            try:
                answer = call()
            except Exception as error:
                if not _is_away(error):
                    raise
                cause = error.__cause__ or error
                why = f"{type(cause).__name__}: {str(cause).strip().splitlines()[0]}"
                if not pause:
                    began, pause = time.monotonic(), 0.05
                    self.outages += 1
                gone = time.monotonic() - began
                if gone > self._patience:
                    raise StorageGone(
                        f"{self._what} has not answered for {gone:.0f} seconds ({why})"
                    ) from error
                if gone > 2 and not said:  # short ones pass unsaid
                    self._log(f"{self._what} does not answer, waiting ({why})")
                    said = True
                time.sleep(pause)
                pause = min(2 * pause, 5.0)
                continue
            if said:
                gone = time.monotonic() - began
                self._log(f"{self._what} answers again, after {gone:.0f} seconds")
            return answer


def _insisting(name: str) -> Callable:
    def call(self, *args, **kwargs):
        return self._insist(lambda: getattr(self._storage, name)(*args, **kwargs))

    return call


_CALLS = [name for name, _ in inspect.getmembers(BaseStorage, inspect.isfunction)]
Patient: Any = type(
    "Patient",
    (_Insists, BaseStorage),
    {name: _insisting(name) for name in _CALLS if not name.startswith("_")},
)
