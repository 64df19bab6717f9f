import itertools
import os
from functools import partial

os.environ.setdefault("NPROC", "32")
flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in flags:
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=8"

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def keys():
    """Keys that are never used twice."""
    return map(partial(jax.random.fold_in, jax.random.key(0)), itertools.count())
