import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.directions import directions


def test_directions_are_vectors_over_their_norms_of_any_length(keys):
    x = jax.random.normal(next(keys), (4, 3))
    wide = np.asarray(x, np.float64)
    want = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    for factor in (1.0, 1e-35, 1e35):
        np.testing.assert_allclose(directions(factor * x), want, rtol=1e-5)
    _, way = jax.jvp(directions, (x,), (jnp.ones_like(x),))
    np.testing.assert_allclose(jnp.sum(way * x, axis=1), jnp.zeros(4), atol=1e-5)
    out, pull = jax.vjp(directions, jnp.zeros((2, 3), jnp.bfloat16))
    assert out.dtype == jnp.float32
    assert not out.any()
    assert not pull(jnp.ones_like(out))[0].any()
