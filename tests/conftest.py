"""Eight CPU devices, a compilation cache of this machine, and keys for every test."""

import functools
import gc
import itertools
import os
from importlib import metadata
from pathlib import Path

# Before jax is imported. NPROC: with fewer threads than devices a loop can deadlock.
os.environ["NPROC"] = "32"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
FLAGS = [os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8"]
if os.environ.get("UNOPTIMISED"):  # compiling thousands of programs takes the time
    FLAGS += [
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_enable_concurrency_optimized_scheduler=false",
        "--xla_cpu_parallel_codegen_split_count=1",
    ]
    if metadata.version("jaxlib").startswith("0.10."):  # later ones have no such flag
        FLAGS += ["--xla_cpu_use_fusion_emitters=false"]
os.environ["XLA_FLAGS"] = " ".join(FLAGS)

import jax  # noqa: E402
import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "jax"

jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_finish(session):
    gc.freeze()  # collections then need not walk through all that was imported


@pytest.fixture
def keys():
    """An endless supply of keys, the same in every run."""
    return map(
        functools.partial(jax.random.fold_in, jax.random.key(0)), itertools.count()
    )
