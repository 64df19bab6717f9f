"""Two runs that want the same directory."""

import json
import os
import resource
import shutil
import socket
import time

import pytest

from kexue_jax.train.lock import Locked, WorkdirLock
from tests.reliability import harness


def contents(workdir):
    """Every file but those that the first run keeps writing, with its time."""
    growing = ("scores.jsonl", "timing.jsonl", "LOCK")
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes())
        for path in workdir.rglob("*")
        if path.is_file()
        and path.name not in growing
        and not {"checkpoints", "tensorboard"} & set(path.parts)
    }


def worked():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.reliability(20)
def test_a_second_run_is_refused_until_the_first_is_dead(clean, tmp_path, figure):
    """Within 5 seconds: of the process, from its first import; and once it asks.

    The former are seconds of its own work, so that what else this machine does is not
    counted.
    """
    workdir = tmp_path / "run"
    first = harness.start(workdir, step_ms=100)
    first.wait_for(lambda: len(harness.logged(workdir)) > 1)
    before, rows = contents(workdir), (workdir / "scores.jsonl").read_bytes()
    since = worked()
    second = harness.start(workdir)
    assert second.end() == 2
    seconds = worked() - since
    assert f"process {first.popen.pid} on {socket.gethostname()}" in second.text
    assert contents(workdir) == before
    assert (workdir / "scores.jsonl").read_bytes().startswith(rows)
    since = time.monotonic()
    with pytest.raises(Locked, match=f"process {first.popen.pid} on"):
        harness.here(workdir)
    asked = time.monotonic() - since
    assert first.popen.poll() is None
    harness.kill(first)
    third = harness.start(workdir)
    assert third.end() == 0
    assert harness.result(workdir) == harness.result(clean())
    figure(f"refused after {seconds:.1f} s, {asked:.2f} s of them since it asked")
    assert seconds < 5
    assert asked < 5


@pytest.mark.reliability(20)
def test_a_copy_is_free_and_a_live_lock_of_another_host_is_not(tmp_path):
    original, copy = tmp_path / "run", tmp_path / "copy"
    original.mkdir()
    with WorkdirLock(original):
        owner = json.loads((original / "LOCK").read_text())
        (original / "LOCK").write_text(json.dumps({**owner, "host": "elsewhere"}))
        shutil.copytree(original, copy)
        with WorkdirLock(copy):
            pass
    alive = {**owner, "host": "elsewhere"}
    (original / "LOCK").write_text(json.dumps(alive))
    with pytest.raises(Locked, match="elsewhere"), WorkdirLock(original):
        pass
    old = time.time() - 301
    os.utime(original / "LOCK", (old, old))
    with WorkdirLock(original):
        pass
