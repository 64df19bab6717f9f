"""Sweeps whose workers, and whose database, are killed at random."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.reliability import harness

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))


class Server:
    """PostgreSQL with a password, in a folder of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kexue-"))
        self.port, self.bin = harness.free_port(), PROGRAMS[-1].parent
        (self.folder / "password").write_text("correct horse\n")
        if os.geteuid() == 0:  # as whom it refuses to run
            shutil.chown(self.folder, "postgres")
            shutil.chown(self.folder / "password", "postgres")
        self._run("initdb", "-A", "scram-sha-256", "--pwfile", self.folder / "password")
        self.control("start")

    def _run(self, program, *words):
        command = [self.bin / program, "-D", self.folder / "data", *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(
            list(map(str, command)), cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def control(self, *words):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1"
        self._run("pg_ctl", "-w", "-l", self.folder / "log", "-o", options, *words)

    def url(self, password=True):
        secret = ":correct horse" if password else ""
        return f"postgresql+psycopg://postgres{secret}@127.0.0.1:{self.port}/postgres"

    def close(self):
        self.control("stop", "-m", "immediate")
        shutil.rmtree(self.folder)


@pytest.fixture
def server():
    if not PROGRAMS:
        pytest.skip("no PostgreSQL on this machine: apt install postgresql")
    made = Server()
    yield made
    made.close()


def definition(path, **data):
    path.write_text(json.dumps(data))
    return path


def start(folder, sweep, *words, command="run", **mishaps):
    """Starts a sweep in the background; its runs lie in `folder`."""
    folder.mkdir(exist_ok=True)
    return begin(folder, command, f"--sweep={sweep}", *words, **mishaps)


def join(folder, *words, **mishaps):
    """Starts one worker at the study in a folder."""
    return begin(folder, "worker", *words, **mishaps)


def begin(folder, command, *words, **mishaps):
    """Starts a command of `experiments.sweep` on the tiny config."""
    output = folder.parent / f"{command}.{time.monotonic_ns()}.log"
    line = [sys.executable, "-m", "experiments.sweep", command, *words]
    line += [f"--config={harness.CONFIG}", f"--workdir={folder}"]
    with open(output, "wb") as file:
        popen = subprocess.Popen(
            line,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=harness.ROOT,
            env=harness.environment(mishaps, 1),
        )
    return harness.Process(popen, output)


def workers(process):
    """The processes that a sweep has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == str(process.popen.pid) and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def kill_workers(folder, process, draw, kills):
    """Kills workers that have a run, at random; returns how many it killed."""
    killed = 0
    while killed < kills and process.popen.poll() is None:
        time.sleep(draw.uniform(0.5, 3.0))
        holders = {holder(path) for path in folder.glob("*/LOCK")}
        busy = sorted(holders & set(workers(process)))
        if busy:
            os.kill(draw.choice(busy), signal.SIGKILL)
            killed += 1
    return killed


def holder(lock):
    """The process that has the lock of a run, if any has."""
    try:
        return json.loads(lock.read_text()).get("pid")
    except (ValueError, OSError):
        return None


def rows(folder):
    """The lines of results.csv, as dicts."""
    head, *lines = (folder / "results.csv").read_text().splitlines()
    return [dict(zip(head.split(","), line.split(","), strict=False)) for line in lines]


def scores(folder):
    """The bytes of the scores of every run, by its id."""
    return {
        path.parent.name: path.read_bytes() for path in folder.glob("*/scores.jsonl")
    }


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_killed_workers_lose_no_trial_and_repeat_none(tmp_path, figure):
    entries = [{"seed": seed} for seed in range(11)] + [{"task.layers": -1}]
    sweep = definition(
        tmp_path / "twelve.json", list=entries, objective={"held/mse": "min"}
    )
    options = ("--workers=2", "--deaths=6")
    folder = tmp_path / "runs"
    process = start(folder, sweep, *options, step_ms=12)
    killed = kill_workers(folder, process, random.Random(0), 6)
    assert process.end() == 1  # as one trial has failed
    assert killed == 6
    found = rows(folder)
    assert [row["state"] for row in found] == ["done"] * 11 + ["failed"]
    assert found[-1]["tries"] == "2"
    assert 11 + 2 + 4 <= sum(int(row["tries"]) for row in found) <= 11 + 2 + 6
    whole = tmp_path / "whole"
    assert start(whole, sweep, *options).end() == 1
    assert {name: scores(whole)[name] for name in scores(folder)} == scores(folder)
    assert len(scores(whole)) == 11
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    again = start(folder, sweep, *options)
    assert again.end() == 1
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert "12 trials: 11 done, 1 failed" in again.text
    assert took < 2
    figure(f"12 trials, 2 workers, {killed} kills; again in {took:.1f} s of a core")


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_a_database_that_restarts_and_dying_workers_change_no_score(
    tmp_path, server, figure
):
    sweep = definition(
        tmp_path / "sixty.json",
        grid={
            "seed": list(range(20)),
            "optimizer.rule.learning_rate": [1e-3, 3e-3, 1e-2],
        },
        objective={"held/mse": "min"},
    )
    secret = tmp_path / "address"
    secret.write_text(server.url())
    secret.chmod(0o600)
    options = ("--workers=4", "--deaths=20", f"--storage_file={secret}")
    folder, draw = tmp_path / "runs", random.Random(1)
    process = start(folder, sweep, *options, step_ms=12)
    killed = kill_workers(folder, process, draw, 10)
    server.control("restart", "-m", "immediate")
    killed += kill_workers(folder, process, draw, 10)
    assert process.end(600) == 0, process.text[-3000:]
    assert killed == 20
    found = rows(folder)
    assert [row["state"] for row in found] == ["done"] * 60
    assert "correct horse" not in process.text
    whole = tmp_path / "whole"
    again = ("--workers=2",)
    assert start(whole, sweep, *again).end(600) == 0
    assert scores(folder) == scores(whole)
    tries = sum(int(row["tries"]) for row in found)
    figure(f"60 trials, 4 workers, {killed} kills, 1 restart: {tries} tries")


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_a_storage_that_stays_away_ends_the_sweep_and_loses_nothing(tmp_path, server):
    sweep = definition(
        tmp_path / "two.json", grid={"seed": [0, 1]}, objective={"held/mse": "min"}
    )
    secret = tmp_path / "address"
    secret.write_text(server.url())
    options = ("--workers=1", "--patience=3", f"--storage_file={secret}")
    folder = tmp_path / "runs"
    process = start(folder, sweep, *options, step_ms=10)
    process.wait_for(lambda: list(folder.glob("*/checkpoints/*")))
    server.control("stop", "-m", "immediate")
    assert process.end() == 75
    assert "Nothing is lost: the same command goes on" in process.text
    assert "correct horse" not in process.text
    server.control("start")
    assert start(folder, sweep, *options).end() == 0
    assert [row["state"] for row in rows(folder)] == ["done", "done"]


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_a_signal_to_the_sweep_leaves_trials_to_go_on_with(tmp_path):
    sweep = definition(
        tmp_path / "two.json", grid={"seed": [0, 1]}, objective={"held/mse": "min"}
    )
    folder = tmp_path / "runs"
    process = start(folder, sweep, "--workers=2", step_ms=30)
    process.wait_for(lambda: list(folder.glob("*/checkpoints/*")))
    process.signal(signal.SIGTERM)
    assert process.end() == 75
    assert not workers(process)
    assert start(folder, sweep, "--workers=2").end() == 0
    found = rows(folder)
    assert [row["state"] for row in found] == ["done", "done"]
    logs = [path.read_text() for path in folder.glob("*/log.txt")]
    assert any("going on from the checkpoint" in log for log in logs)


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_a_trial_of_two_processes_is_told_once_and_stops_as_one(tmp_path):
    two = [{"mesh.data": 2, "seed": seed} for seed in (0, 1)]
    sweep = definition(tmp_path / "two.json", list=two, objective={"held/mse": "min"})
    folder = tmp_path / "runs"
    assert start(folder, sweep, "--workers=0").end() == 0
    study = f"--storage=sqlite:///{folder / 'study.db'}", "--study=config/two"

    def pair(**mishaps):
        port = harness.free_port()
        shared = (*study, f"--coordinator=127.0.0.1:{port}", "--processes=2")
        return [join(folder, *shared, f"--process={i}", **mishaps) for i in range(2)]

    both = pair(step_ms=30)
    both[0].wait_for(lambda: list(folder.glob("*/checkpoints/*")))
    both[1].signal(signal.SIGTERM)
    assert [process.end() for process in both] == [75, 75]
    assert [process.end() for process in pair()] == [0, 0]
    assert start(folder, sweep, "--workers=1").end() == 0
    found = rows(folder)
    assert [row["state"] for row in found] == ["done", "done"]
    assert int(found[0]["tries"]) + int(found[1]["tries"]) == 3


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_workers_join_through_a_proxy_and_one_that_dies_is_noticed(tmp_path):
    grid = {"seed": list(range(6))}
    sweep = definition(tmp_path / "six.json", grid=grid, objective={"held/mse": "min"})
    folder, port = tmp_path / "runs", harness.free_port()
    short = "--lease_seconds=6"
    assert start(folder, sweep, "--workers=0", short).end() == 0
    serve = [sys.executable, "-m", "experiments.sweep", "serve", "--host=127.0.0.1"]
    serve += [f"--storage=sqlite:///{folder / 'study.db'}", f"--port={port}"]
    server = subprocess.Popen(serve, cwd=harness.ROOT)
    try:
        study = f"--storage=grpc://127.0.0.1:{port}", "--study=config/six"
        first = join(folder, *study, step_ms=20)
        first.wait_for(lambda: list(folder.glob("*/checkpoints/*")))
        others = [join(folder, *study) for _ in range(2)]
        first.signal(signal.SIGKILL)
        assert [process.end() for process in others] == [0, 0]
    finally:
        server.terminate()
        server.wait()
    assert start(folder, sweep, "--workers=1", short).end() == 0
    assert [row["state"] for row in rows(folder)] == ["done"] * 6
