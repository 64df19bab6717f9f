import os

import pytest

from experiments.configs import ConfigError
from experiments.sweeps import devices


def test_cores_are_divided(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    found = devices.shares(3, platform="cpu")
    cores = [share.environment[devices.CORES] for share in found]
    assert cores == ["0,1", "2,3", "4,5"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 6})
    found = devices.shares(5, platform="cpu")
    cores = [share.environment[devices.CORES] for share in found]
    assert cores == ["4", "6", "4", "6", "4"]


def test_each_worker_has_gpus_of_its_own():
    seen = {"CUDA_VISIBLE_DEVICES": "2,3,5,7"}
    found = devices.shares(2, platform="cuda", per_worker=2, environment=seen)
    names = [share.environment["CUDA_VISIBLE_DEVICES"] for share in found]
    assert names == ["2,3", "5,7"]
    assert len(devices.shares(0, platform="cuda", environment=seen)) == 4
    with pytest.raises(ConfigError, match=r"need 6, and this host has 4 \(cuda\)"):
        devices.shares(3, platform="cuda", per_worker=2, environment=seen)
    with pytest.raises(ConfigError, match="this host has 0"):
        devices.shares(0, platform="cuda", environment={"CUDA_VISIBLE_DEVICES": ""})


def test_each_worker_has_chips_of_its_own():
    seen = {"TPU_VISIBLE_CHIPS": "0,1,2,3"}
    found = devices.shares(2, platform="tpu", per_worker=2, environment=seen)
    assert found[1].environment == {
        "TPU_VISIBLE_CHIPS": "2,3",
        "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,2,1",
        "TPU_PROCESS_BOUNDS": "1,1,1",
    }
    with pytest.raises(ConfigError, match="groups of 1, 2, 4 or 8, got 3"):
        devices.shares(1, platform="tpu", per_worker=3, environment=seen)


def test_the_platform_is_that_of_jax_or_of_what_there_is():
    gpus = {"CUDA_VISIBLE_DEVICES": "0"}
    assert devices.shares(1, environment=gpus)[0].shown == "GPU 0"
    asked = gpus | {"JAX_PLATFORMS": "cpu"}
    assert devices.CORES in devices.shares(1, environment=asked)[0].environment


def test_fewer_workers_do_where_there_are_fewer_devices():
    assert len(devices.at_most(2, environment={"CUDA_VISIBLE_DEVICES": "0"})) == 1
    assert len(devices.at_most(1, environment={"CUDA_VISIBLE_DEVICES": "0,1"})) == 1
    assert len(devices.at_most(3, environment={"JAX_PLATFORMS": "cpu"})) == 3
