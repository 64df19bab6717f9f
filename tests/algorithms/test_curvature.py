import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.curvature import largest_curvature


def tree_of(x):
    return {"a": x[:4].reshape(2, 2), "b": x[4:]}


def loss(tree):
    x = jnp.concatenate([tree["a"].ravel(), tree["b"]])
    return jnp.sum(jnp.cos(jnp.arange(1.0, 10.0) * x)) + jnp.prod(jnp.tanh(x[:3]))


def test_it_is_the_top_eigenvalue_of_the_hessian():
    draws = np.random.default_rng(0)
    points = draws.normal(size=(3, 9)).astype(np.float32)

    @jax.jit
    def both(x):
        exact = jax.hessian(lambda x: loss(tree_of(x)))(x)
        keys = jax.random.split(jax.random.key(0), 2)
        found = [
            largest_curvature(jax.grad(loss), tree_of(x), keys[0], iterations=k)
            for k in (9, 30)
        ]
        return jnp.linalg.eigvalsh(exact)[-1], jnp.stack(found)

    for x in points:
        want, found = both(x)
        np.testing.assert_allclose(found, np.full(2, want), rtol=1e-4)


def test_many_equal_and_all_negative_eigenvalues_are_found_and_none_gives_zero():
    def top(slope, x):
        return largest_curvature(slope, x, jax.random.key(1), iterations=6)

    @jax.jit
    def found(x):
        falling = -jnp.arange(1.0, 4.0)
        return [
            top(lambda x: 2.0 * x, x),
            top(lambda x: falling * x, x),
            top(jnp.zeros_like, x),
            top(jnp.zeros_like, {}),
        ]

    np.testing.assert_allclose(
        found(np.ones(3, np.float32)), [2.0, -1.0, 0.0, 0.0], rtol=1e-4
    )


def test_few_products_come_near_from_below():
    spectrum = np.linspace(0.0, 10.0, 200).astype(np.float32)
    counts = (1, 5, 20, 40)

    @jax.jit
    def found(x):
        slope = lambda x: spectrum * x  # noqa: E731
        key = jax.random.key(0)
        return [largest_curvature(slope, x, key, iterations=k) for k in counts]

    values = np.array(found(np.ones(200, np.float32)))
    assert (np.diff(values) > -1e-5).all()
    assert (values <= 10.0 + 1e-4).all()
    assert values[-1] > 9.9
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        largest_curvature(lambda x: x, np.ones(2), jax.random.key(0), iterations=0)
