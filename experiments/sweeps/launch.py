"""What starts workers elsewhere: a SLURM array, or JobSets for TPU slices of GKE.

Both only start the command ``worker`` as often as they are told; what is run, tried
again or left is the study's business. Neither file holds a secret.
"""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from experiments.configs import ConfigError
from experiments.sweeps.storage import VARIABLE

SECRET = "kexue-storage"


def slurm_script(
    command: Sequence[str],
    *,
    workers: int,
    nodes: int = 1,
    name: str = "sweep",
    logs: str = ".",
    options: Sequence[str] = (),
) -> str:
    """Returns a batch script: an array with a task for each worker.

    A task that is told to end passes that on to its worker, which saves and gives its
    trial back, and goes into the queue again. A worker that dies is another matter: its
    trial is another worker's, and the task is not started again.

    Args:
      command: of one worker.
      workers: tasks of the array.
      nodes: hosts of each worker; more than one make one run together.
      name: of the job.
      logs: the directory of what they say; it must exist.
      options: more lines for ``#SBATCH``, such as ``--gres=gpu:1``.
    """
    words = list(command)
    step = ""
    if nodes > 1:
        words.append("--coordinator=auto")
        step = f"srun --nodes={nodes} --ntasks-per-node=1 "
    lines = [
        f"--job-name={name}",
        f"--array=0-{workers - 1}",
        f"--nodes={nodes}",
        "--requeue",
        "--open-mode=append",
        f"--output={logs}/%A_%a.log",
        "--signal=B:TERM@120",
        *options,
    ]
    head = "\n".join(f"#SBATCH {line}" for line in lines)
    return f"""#!/bin/bash
{head}

asked=0
trap 'asked=1; kill -TERM $worker' TERM
{step}{shlex.join(words)} &
worker=$!
[ $asked = 0 ] || kill -TERM $worker
wait $worker
code=$?
if [ $asked = 1 ]; then  # the first wait ended when the signal came
  wait $worker
  code=$?
fi
if [ $asked = 1 ] && [ $code = 75 ]; then
  exec scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit $code
"""


ACCELERATORS = (
    "tpu-v4-podslice",
    "tpu-v5-lite-device",
    "tpu-v5-lite-podslice",
    "tpu-v5p-slice",
    "tpu-v6e-slice",
)
"""Kinds of TPU, as the nodes of GKE are labelled."""


def job_sets(
    command: Sequence[str],
    *,
    workers: int,
    name: str,
    image: str,
    accelerator: str,
    topology: str,
    chips: int,
    queue: str,
    claim: str,
    mount: str,
) -> list[dict[str, Any]]:
    """Returns a JobSet for each worker, which has a whole slice.

    One JobSet of all workers would start them all anew when one of them dies. The
    address of the storage is in a secret, `SECRET`, under the key ``url``; runs lie on
    a volume that all of them can write.

    Args:
      command: of one worker.
      workers: slices.
      name: of the JobSets, with a number behind it.
      image: of the container, with this project in its working directory.
      accelerator, topology: of a slice, such as ``tpu-v6e-slice`` and ``4x4``.
      chips: of one host of it.
      queue: of Kueue, which admits the slices.
      claim, mount: the persistent volume claim of the runs, and where it is mounted.

    Raises:
      ConfigError: if accelerator, topology or name are none.
    """
    if accelerator not in ACCELERATORS:
        raise ConfigError(
            f"--accelerator must be one of {', '.join(ACCELERATORS)}, got "
            f"{accelerator!r}"
        )
    if not re.fullmatch(r"\d+x\d+(x\d+)?", topology):
        raise ConfigError(f"--topology must be like 2x4, got {topology!r}")
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?", name):
        raise ConfigError(
            f"--name must be of lower-case letters, digits and hyphens, got {name!r}"
        )
    whole = math.prod(map(int, topology.split("x")))
    if whole % chips:
        raise ConfigError(
            f"--chips={chips} of a host do not divide the {whole} of a slice {topology}"
        )
    hosts = whole // chips
    words = [*command, *(["--coordinator=auto"] if hosts > 1 else [])]
    pod = _pod(words, image, chips, claim, mount)
    pod["spec"]["nodeSelector"] = {
        "cloud.google.com/gke-tpu-accelerator": accelerator,
        "cloud.google.com/gke-tpu-topology": topology,
    }
    return [_job_set(f"{name}-{i}", queue, hosts, pod) for i in range(workers)]


def _job_set(name: str, queue: str, hosts: int, pod: Mapping) -> dict[str, Any]:
    job = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,  # one host that dies ends the slice; the JobSet restarts it
        "template": pod,
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": queue}},
        "spec": {
            "failurePolicy": {"maxRestarts": 20},
            "replicatedJobs": [
                {"name": "slice", "replicas": 1, "template": {"spec": job}}
            ],
        },
    }


def _pod(words, image: str, chips: int, claim: str, mount: str) -> dict[str, Any]:
    container = {
        "name": "worker",
        "image": image,
        "command": list(words),
        "env": [
            {
                "name": VARIABLE,
                "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "url"}},
            }
        ],
        "ports": [{"containerPort": 8471}, {"containerPort": 8080}],
        "resources": {"limits": {"google.com/tpu": chips}},
        "volumeMounts": [{"name": "runs", "mountPath": mount}],
    }
    return {
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 120,
            "containers": [container],
            "volumes": [
                {"name": "runs", "persistentVolumeClaim": {"claimName": claim}}
            ],
        }
    }


def as_yaml(documents: Sequence[Mapping[str, Any]]) -> str:
    """Returns documents in one file, as ``kubectl apply`` takes it."""

    class Plain(yaml.SafeDumper):
        """Writes what is shared between documents in full."""

        def ignore_aliases(self, data):
            return True

    return yaml.dump_all(documents, Dumper=Plain, sort_keys=False)
