"""What ends where XLA has two threads, as on a machine of two cores."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, jax, jax.numpy as jnp
from kexue_jax import metrics
root = jax.random.normal(jax.random.key(0), (2, 1000, 64, 64))
cov = root @ jnp.swapaxes(root, -1, -2) / 64 + 0.1 * jnp.eye(64)
mean = jnp.zeros((1000, 64))
distance = getattr(metrics, sys.argv[1])
total = lambda *args: distance(*args).sum()
slopes = jax.grad(total, argnums=(0, 1, 2, 3))
for function in map(jax.jit, (distance, slopes)):
    for _ in range(5):
        found = jax.block_until_ready(function(mean, cov[0], mean, cov[1]))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "gaussian_kl",
        "gaussian_jeffreys",
        "gaussian_bhattacharyya",
        "gaussian_hellinger_squared",
        "wasserstein2_squared",
    ],
)
def test_distances_of_a_thousand_pairs_end_on_two_threads(name):
    """Several calls of LAPACK for many matrices at once wait for each other there."""
    env = os.environ | {"NPROC": "2", "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", PROGRAM, name]
    subprocess.run(command, check=True, env=env, timeout=300)
