import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.directions import directions

compiled = jax.jit(directions)


def test_directions_are_vectors_over_their_norms_of_any_length():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    wide = np.float64(x)
    want = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    for factor in (1.0, 1e-35, 1e35):
        got = compiled(np.float32(factor) * x)
        np.testing.assert_allclose(got, want, rtol=1e-5)
    _, way = jax.jvp(compiled, (x,), (np.ones_like(x),))
    np.testing.assert_allclose(np.sum(way * x, axis=1), np.zeros(4), atol=1e-5)

    @jax.jit
    def with_gradient(x):
        out, pull = jax.vjp(directions, x)
        return out, pull(jnp.ones_like(out))[0]

    out, slope = with_gradient(np.zeros((2, 3), jnp.bfloat16))
    assert out.dtype == jnp.float32
    assert not np.asarray(out).any()
    assert not np.asarray(slope).any()
