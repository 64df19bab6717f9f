import re
import shutil
import subprocess

import pytest
import yaml

from experiments.configs import ConfigError
from experiments.sweeps import launch

COMMAND = ["python", "-m", "experiments.sweep", "worker", "--study=a b"]
SLICES = dict(
    workers=3,
    name="sweep",
    image="example/kexue:1",
    accelerator="tpu-v6e-slice",
    topology="4x4",
    chips=4,
    queue="kexue",
    claim="runs",
    mount="/runs",
)


def script(folder, worker, **more):
    """Writes a batch script whose worker is a piece of shell."""
    text = launch.slurm_script(["bash", "-c", worker], workers=2, **more)
    path = folder / "slurm.sh"
    path.write_text(text)
    return path


def run(folder, worker, signal=False):
    """Runs a script with a fake scontrol; its exit code and what scontrol was told."""
    fake = folder / "scontrol"
    fake.write_text(f"#!/bin/bash\necho $@ > {folder}/told\n")
    fake.chmod(0o755)
    popen = subprocess.Popen(
        ["bash", script(folder, worker)],
        env={
            "PATH": f"{folder}:/usr/bin:/bin",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": "1",
        },
    )
    if signal:
        while not (folder / "ready").exists():
            pass
        popen.terminate()
    code = popen.wait(20)
    told = folder / "told"
    return code, told.read_text().strip() if told.exists() else ""


def test_a_task_ends_as_its_worker_does(tmp_path):
    assert run(tmp_path, "exit 0") == (0, "")
    assert run(tmp_path, "exit 3") == (3, "")
    assert run(tmp_path, "exit 75") == (75, "")  # the storage stayed away


def test_a_task_that_is_told_to_end_waits_for_its_worker_and_comes_again(tmp_path):
    worker = f"trap 'sleep 0.3; touch {tmp_path}/saved; exit 75' TERM; "
    worker += f"touch {tmp_path}/ready; while true; do sleep 0.05; done"
    assert run(tmp_path, worker, signal=True) == (0, "requeue 7_1")
    assert (tmp_path / "saved").exists()


def test_a_task_that_ends_well_in_spite_of_a_signal_does_not_come_again(tmp_path):
    worker = f"trap 'exit 0' TERM; touch {tmp_path}/ready; "
    worker += "while true; do sleep 0.05; done"
    assert run(tmp_path, worker, signal=True) == (0, "")


def test_the_script_asks_slurm_for_what_it_needs():
    text = launch.slurm_script(
        COMMAND, workers=4, nodes=2, logs="/logs", options=["--gres=gpu:1"]
    )
    lines = re.findall(r"^#SBATCH (.*)$", text, re.M)
    assert {"--array=0-3", "--nodes=2", "--requeue", "--gres=gpu:1"} <= set(lines)
    assert "--signal=B:TERM@120" in lines
    assert "srun --nodes=2 --ntasks-per-node=1 python" in text
    assert "'--study=a b' --coordinator=auto" in text
    if shutil.which("bash"):
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_each_slice_is_a_job_set_of_its_own():
    sets = launch.job_sets(COMMAND, **SLICES)
    assert [x["metadata"]["name"] for x in sets] == ["sweep-0", "sweep-1", "sweep-2"]
    job = sets[0]["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 4
    container = job["template"]["spec"]["containers"][0]
    assert container["command"] == [*COMMAND, "--coordinator=auto"]
    assert container["resources"] == {"limits": {"google.com/tpu": 4}}
    one = launch.job_sets(COMMAND, **SLICES | {"topology": "2x2"})[0]
    job = one["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == 1
    assert job["template"]["spec"]["containers"][0]["command"] == COMMAND


def test_the_manifest_is_yaml_that_reads_back():
    sets = launch.job_sets(COMMAND, **SLICES)
    text = launch.as_yaml(sets)
    assert list(yaml.safe_load_all(text)) == sets
    assert "&id" not in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accelerator": "v6e"}, "--accelerator must be one of"),
        ({"topology": "16"}, "--topology must be like 2x4, got '16'"),
        ({"name": "My sweep"}, "--name must be of lower-case letters"),
        ({"chips": 3}, "--chips=3 of a host do not divide the 16"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused(change, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        launch.job_sets(COMMAND, **SLICES | change)
