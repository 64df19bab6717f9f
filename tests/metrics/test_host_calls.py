import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.host_calls import call_on_host

PROGRAM = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import jax, jax.numpy as jnp, numpy as np
from kexue_jax.metrics.host_calls import call_on_host
def total(cost, p, q):
    return [np.einsum("bmn,bm,bn->b", cost, p, q)]
def on_host(cost, p, q):  # jax.pure_callback in its place never ends here
    shape = [jax.ShapeDtypeStruct(cost.shape[:1], cost.dtype)]
    return call_on_host(total, shape, cost, p, q, vmap_method="sequential")[0]
@jax.jit
def several(x, y):
    cost = jnp.sqrt(jnp.sum((x[:, :, None] - y[:, None]) ** 2, -1))
    p, q = jnp.abs(x[..., 0]), jnp.abs(y[..., 0])
    costs = cost, cost / (1 + cost), 2 * cost
    return cost, p, q, [on_host(own, p, q) for own in costs]
x, y = np.random.default_rng(0).normal(size=(2, 500, 30, 8)).astype(np.float32)
for _ in range(3):
    cost, p, q, found = jax.block_until_ready(several(x, y))
np.testing.assert_allclose(found[0], total(cost, p, q)[0], rtol=1e-4)
np.testing.assert_allclose(found[2], 2 * found[0], rtol=1e-4)
"""


def called(x, y, vmap_method="broadcast_all"):
    shapes = [jax.ShapeDtypeStruct(x.shape[:-1] + y.shape[-1:], x.dtype)]
    (found,) = call_on_host(lambda x, y: [x @ y], shapes, x, y, vmap_method=vmap_method)
    return found


@pytest.mark.parametrize("vmap_method", ["broadcast_all", "sequential"])
def test_what_is_computed_on_the_host_comes_back(vmap_method):
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)
    one = jax.jit(lambda x, y: called(x, y, vmap_method))
    np.testing.assert_allclose(one(x[0], y[0]), x[0] @ y[0], rtol=1e-6)
    np.testing.assert_allclose(called(x[0], y[0]), x[0] @ y[0], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(one)(x, y), x @ y, rtol=1e-6)


def test_several_results_of_other_shapes_and_dtypes():
    shapes = [
        jax.ShapeDtypeStruct((2, 2), jnp.float32),
        jax.ShapeDtypeStruct((), np.int32),
    ]
    x = jnp.arange(4.0).reshape(2, 2)
    twice, count = jax.jit(
        lambda x: call_on_host(
            lambda x: [2 * x, np.asarray(x.size, np.int32)],
            shapes,
            x,
            vmap_method="sequential",
        )
    )(x)
    np.testing.assert_array_equal(twice, 2 * x)
    assert (count, count.dtype) == (4, jnp.int32)


def test_an_error_on_the_host_is_told():
    def refuse(x):
        raise ValueError("no such plan")

    shapes = [jax.ShapeDtypeStruct((), jnp.float32)]
    call = jax.jit(lambda x: call_on_host(refuse, shapes, x, vmap_method="sequential"))
    with pytest.raises(Exception, match="no such plan"):
        jax.block_until_ready(call(jnp.ones(3)))


def test_calls_side_by_side_end_on_one_thread():
    env = os.environ | {"NPROC": "1", "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env=env, timeout=120)
