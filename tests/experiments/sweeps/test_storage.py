import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError

from experiments.configs import ConfigError
from experiments.sweeps import storage
from experiments.sweeps.storage import (
    Patient,
    StorageGone,
    address,
    open_storage,
    shown,
)


class Shaky(optuna.storages.InMemoryStorage):
    """A storage that fails at its next calls, before or after it has done them."""

    def __init__(self):
        super().__init__()
        self.fails, self.after, self.error = 0, False, StorageInternalError("gone")

    def get_all_studies(self):
        if self.fails and not self.after:
            self.fails -= 1
            raise self.error
        found = super().get_all_studies()
        if self.fails:
            self.fails -= 1
            raise self.error
        return found


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(storage.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(storage.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds


def patient(shaky, lines, patience=60.0):
    return Patient(lambda: shaky, patience=patience, what="it", log=lines.append)


def test_a_storage_that_is_away_is_waited_for(monkeypatch):
    Clock(monkeypatch)
    shaky, lines = Shaky(), []
    made = patient(shaky, lines)
    shaky.fails = 9
    assert made.get_all_studies() == []
    assert made.outages == 1
    assert lines[0].startswith("it does not answer, waiting (StorageInternalError")
    assert lines[1].startswith("it answers again, after")


def test_a_short_outage_passes_unsaid(monkeypatch):
    Clock(monkeypatch)
    shaky, lines = Shaky(), []
    made = patient(shaky, lines)
    shaky.fails = 2
    assert made.get_all_studies() == []
    assert lines == []


def test_a_storage_that_stays_away_is_given_up(monkeypatch):
    clock = Clock(monkeypatch)
    shaky = Shaky()
    made = patient(shaky, [], patience=30.0)
    shaky.fails = 10**6
    with pytest.raises(StorageGone, match=r"it has not answered for 3\d seconds"):
        made.get_all_studies()
    assert 30 < clock.now < 40


def test_what_a_storage_refuses_is_not_asked_again(monkeypatch):
    Clock(monkeypatch)
    shaky = Shaky()
    made = patient(shaky, [])
    shaky.fails, shaky.error = 2, UpdateFinishedTrialError("no")
    with pytest.raises(UpdateFinishedTrialError):
        made.get_all_studies()
    assert shaky.fails == 1


def test_a_password_is_taken_from_the_environment_or_a_file_only(tmp_path, monkeypatch):
    secret = "postgresql+psycopg://me:secret@host/name"
    default = tmp_path / "study.db"
    monkeypatch.delenv(storage.VARIABLE, raising=False)
    with pytest.raises(ConfigError, match="password on a command line") as error:
        address(secret, None, default)
    assert "secret" not in str(error.value)
    file = tmp_path / "address"
    file.write_text(secret + "\n")
    assert address(None, str(file), default) == secret
    monkeypatch.setenv(storage.VARIABLE, secret)
    assert address(None, None, default) == secret
    assert address("sqlite:///x", None, default) == "sqlite:///x"
    with pytest.raises(ConfigError, match="give one of them"):
        address("sqlite:///x", str(file), default)
    with pytest.raises(ConfigError, match="--storage_file"):
        address(None, str(tmp_path / "none"), default)
    monkeypatch.delenv(storage.VARIABLE)
    assert address(None, None, default) == f"sqlite:///{default}"


def test_what_is_shown_has_no_password():
    url = "postgresql+psycopg://me:secret@host:5432/name"
    assert shown(url) == "postgresql+psycopg://me:***@host:5432/name"
    assert shown("grpc://host:13000") == "grpc://host:13000"
    with pytest.raises(ConfigError, match="expected sqlite:///file"):
        shown("me:secret@host")


@pytest.mark.parametrize("url", ["grpc://host", "grpc://:1", "grpc://host:x"])
def test_a_malformed_address_of_a_proxy_is_refused(url):
    with pytest.raises(ConfigError, match="expected grpc://host:port"):
        open_storage(url, patience=1)


def test_an_unknown_driver_is_named():
    with pytest.raises(ConfigError, match=r"psycopg\[binary\]"):
        open_storage("postgresql+nodriver://host/name", patience=1)
