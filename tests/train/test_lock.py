import json
import os
import socket
import subprocess
import sys
import time

import pytest

from kexue_jax.train.lock import Locked, WorkdirLock


def test_a_second_holder_is_refused_by_name_and_the_next_is_not(tmp_path):
    here = f"process {os.getpid()} on {socket.gethostname()}"
    with WorkdirLock(tmp_path), pytest.raises(Locked, match=here):
        WorkdirLock(tmp_path).__enter__()
    with WorkdirLock(tmp_path):
        pass
    assert (tmp_path / "LOCK").read_text() == "{}"


def test_a_dead_process_holds_nothing(tmp_path):
    code = (
        "import os, sys; from kexue_jax.train.lock import WorkdirLock; "
        "WorkdirLock(sys.argv[1]).__enter__(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert json.loads((tmp_path / "LOCK").read_text())["pid"] != os.getpid()
    with WorkdirLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "x", "[]", "[1, 2]", "null", "3", '"a"'])
def test_content_that_is_no_owner_holds_nothing(tmp_path, text):
    (tmp_path / "LOCK").write_text(text)
    with WorkdirLock(tmp_path):
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()


@pytest.mark.parametrize(("age", "free"), [(10, False), (299, False), (302, True)])
def test_another_host_holds_it_for_five_minutes_after_its_last_touch(
    tmp_path, age, free
):
    path = tmp_path / "LOCK"
    path.touch()
    owner = {"host": "elsewhere", "pid": 1, "inode": path.stat().st_ino}
    path.write_text(json.dumps(owner))
    then = time.time() - age
    os.utime(path, (then, then))
    if free:
        with WorkdirLock(tmp_path):
            pass
    else:
        with pytest.raises(Locked, match="elsewhere"):
            WorkdirLock(tmp_path).__enter__()
    assert sorted(os.listdir(tmp_path)) == ["LOCK"]


def test_the_file_is_touched_while_it_is_held(tmp_path):
    with WorkdirLock(tmp_path, heartbeat_seconds=0.01):
        os.utime(tmp_path / "LOCK", (0, 0))
        until = time.monotonic() + 5
        while (tmp_path / "LOCK").stat().st_mtime == 0:
            assert time.monotonic() < until
            time.sleep(0.01)
