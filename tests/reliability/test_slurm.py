"""A sweep in a SLURM of one node, started from Debian's packages."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from tests.reliability import harness
from tests.reliability.test_sweep import definition, rows, start

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue")
PATH = f"{os.environ['PATH']}:/usr/sbin"

CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={control}
SlurmdPort={daemon}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
NodeName={host} CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """One node and its controller, in a folder of their own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="kexue-slurm-"))
        self.folder.chmod(0o755)
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        self.environment = os.environ | {
            "PATH": PATH,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        host = socket.gethostname().partition(".")[0]
        ports = dict(control=harness.free_port(), daemon=harness.free_port())
        (self.folder / "slurm.conf").write_text(
            CONF.format(host=host, folder=self.folder, **ports)
        )
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        here = str(self.folder)
        munge = [f"--socket={here}/munge.socket", f"--key-file={key}"]
        munge += [f"--pid-file={here}/munge.pid", f"--log-file={here}/munge.log"]
        munge += [f"--seed-file={here}/munge.seed"]
        self.run("munged", "--force", *munge)
        self.run("slurmctld", "-c")
        self.run("slurmd", "-c")
        self.until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"))

    def run(self, *words):
        done = subprocess.run(
            words, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def until(self, happened, seconds=harness.LIMIT):
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, self.run("squeue", "-r")
            time.sleep(0.2)

    def close(self):
        for name in ("slurmd", "slurmctld", "munge"):
            pid = self.folder / f"{name}.pid"
            if pid.exists():
                os.kill(int(pid.read_text()), 15)
        time.sleep(1)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def cluster():
    if os.geteuid() or not all(shutil.which(name, path=PATH) for name in PROGRAMS):
        pytest.skip("no SLURM here, or not root: apt install slurmctld slurmd munge")
    made = Cluster()
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.reliability(24)
def test_an_array_of_workers_is_preempted_and_goes_on(tmp_path, cluster):
    sweep = definition(
        tmp_path / "four.json",
        grid={"seed": list(range(4))},
        objective={"held/mse": "min"},
    )
    folder = tmp_path / "runs"
    prepared = start(folder, sweep, "--to=slurm", "--workers=2", command="launch")
    assert prepared.end() == 0
    script = folder / "launch" / "slurm.sh"
    cluster.environment |= harness.environment({"step_ms": 60}, 1) | {"PATH": PATH}
    told = cluster.run("sbatch", f"--chdir={harness.ROOT}", str(script))
    (job,) = re.findall(r"job (\d+)", told)
    cluster.until(lambda: list(folder.glob("*/checkpoints/*")))
    cluster.run("scancel", "--signal=TERM", "--batch", f"{job}_0")
    show = lambda: cluster.run("scontrol", "show", "job", f"{job}_0")  # noqa: E731
    cluster.until(lambda: "Restarts=1" in show())
    cluster.run("scontrol", "update", f"JobId={job}_0", "StartTime=now")
    cluster.until(lambda: not cluster.run("squeue", "-h"))
    assert start(folder, sweep, "--workers=0").end() == 0
    found = rows(folder)
    assert [row["state"] for row in found] == ["done"] * 4
    assert sum(int(row["tries"]) for row in found) == 5
    logs = [path.read_text() for path in folder.glob("*/log.txt")]
    assert any("going on from the checkpoint" in log for log in logs)
