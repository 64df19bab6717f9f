"""Which devices each of several workers on one host has."""

import glob
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.configs import ConfigError

CORES = "KEXUE_CORES"
"""The environment variable that tells a worker the cores it runs on."""

PLATFORMS = ("auto", "cpu", "cuda", "tpu")


class Share(NamedTuple):
    """What one worker has: what its environment says, and words for people."""

    environment: dict[str, str]
    shown: str


def shares(
    workers: int,
    *,
    platform: str = "auto",
    per_worker: int = 1,
    environment: Mapping[str, str] = os.environ,
) -> list[Share]:
    """Returns the share of each worker.

    Args:
      workers: how many there are; 0 for as many as there are devices for.
      platform: ``cpu`` (the cores are divided), ``cuda``, ``tpu``, or ``auto``.
      per_worker: GPUs or TPU chips of each.
      environment: says which devices this process itself may use.

    Raises:
      ConfigError: if there are too few devices.
    """
    if platform == "auto":
        platform = _platform(environment)
    if platform == "cpu":
        return _cores(workers or 1)
    found = _gpus(environment) if platform == "cuda" else _chips(environment)
    count = workers or len(found) // per_worker
    if not found or count * per_worker > len(found):
        raise ConfigError(
            f"--workers={workers} with {per_worker} device(s) each need "
            f"{max(count, 1) * per_worker}, and this host has {len(found)} "
            f"({platform})"
        )
    groups = [found[i * per_worker : (i + 1) * per_worker] for i in range(count)]
    make = _cuda if platform == "cuda" else _tpu
    return [make(group) for group in groups]


def at_most(
    workers: int, *, environment: Mapping[str, str] = os.environ
) -> list[Share]:
    """Returns shares as `shares`, but fewer where there are fewer devices."""
    if _platform(environment) == "cpu":
        return shares(workers, environment=environment)
    return shares(0, environment=environment)[:workers]


def _platform(environment: Mapping[str, str]) -> str:
    asked = environment.get("JAX_PLATFORMS", "").split(",")[0]
    if asked in ("cpu", "cuda", "tpu"):
        return asked
    if _gpus(environment):
        return "cuda"
    return "tpu" if _chips(environment) else "cpu"


def _cores(workers: int) -> list[Share]:
    """Equal parts of the cores; workers beyond their number share one."""
    mine = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not mine:
        return [Share({"JAX_PLATFORMS": "cpu"}, "all cores")] * workers
    each = max(len(mine) // workers, 1)
    found = []
    for i in range(workers):
        start = i * each % len(mine)
        part = ",".join(map(str, mine[start : start + each]))
        found.append(Share({"JAX_PLATFORMS": "cpu", CORES: part}, f"cores {part}"))
    return found


def _gpus(environment: Mapping[str, str]) -> list[str]:
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name not in ("", "-1")]
    files = glob.glob("/dev/nvidia[0-9]*")
    return sorted((name.removeprefix("/dev/nvidia") for name in files), key=int)


def _cuda(group: Sequence[str]) -> Share:
    names = ",".join(group)
    return Share({"CUDA_VISIBLE_DEVICES": names}, f"GPU {names}")


def _chips(environment: Mapping[str, str]) -> list[str]:
    visible = environment.get("TPU_VISIBLE_CHIPS")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    files = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return [str(i) for i in range(len(files))]


def _tpu(group: Sequence[str]) -> Share:
    bounds = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}.get(len(group))
    if bounds is None:
        raise ConfigError(
            f"--per_worker: chips go in groups of 1, 2, 4 or 8, got {len(group)}"
        )
    names = ",".join(group)
    return Share(
        {
            "TPU_VISIBLE_CHIPS": names,
            "TPU_CHIPS_PER_PROCESS_BOUNDS": bounds,
            "TPU_PROCESS_BOUNDS": "1,1,1",
        },
        f"chips {names}",
    )


def keep_to_cores() -> None:
    """Keeps this process to its share of the cores; call before jax is imported."""
    cores = os.environ.get(CORES)
    if cores:
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
