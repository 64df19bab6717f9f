import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import lamb, scale_by_name


def draw(steps=50):
    draws = np.random.default_rng(0)
    shapes = {"dense": {"kernel": (3, 2), "bias": (2,)}, "crf": {"kernel": (2, 2)}}
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    start = jax.tree.map(lambda s: draws.normal(size=s), shapes, is_leaf=is_shape)
    return jax.tree.map(lambda p: draws.normal(size=(steps, *p.shape)), start), start


def test_lamb_is_the_formula_over_fifty_steps_and_leaves_biases_alone(trajectory):
    grads, start = draw()

    def slow(g, theta, ratio):
        theta, m, v = theta.copy(), np.zeros_like(theta), np.zeros_like(theta)
        for t, x in enumerate(g, 1):
            m, v = 0.9 * m + 0.1 * x, 0.999 * v + 0.001 * x**2
            h = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-6)
            if ratio:
                h = h + 0.1 * theta
                h = h * np.linalg.norm(theta) / np.linalg.norm(h)
            theta = theta - 0.01 * h
        return theta

    with jax.enable_x64(True):
        seen, _ = trajectory(lamb(0.01, weight_decay=0.1), grads, start)
    for module, name in (("dense", "kernel"), ("dense", "bias"), ("crf", "kernel")):
        want = slow(grads[module][name], start[module][name], name == "kernel")
        np.testing.assert_allclose(seen[module][name][-1], want, rtol=1e-8)


def test_the_first_rule_in_the_path_scales_the_update():
    _, start = draw()
    tx = scale_by_name((("crf", 100.0), ("kernel", 0.5)), otherwise=0.0)
    got = jax.device_get(jax.jit(lambda g: tx.update(g, tx.init(g))[0])(start))
    for name, factor in (("crf/kernel", 100), ("dense/kernel", 0.5), ("dense/bias", 0)):
        module, leaf = name.split("/")
        want = np.float32(start[module][leaf]) * np.float32(factor)
        np.testing.assert_array_equal(got[module][leaf], want)


@pytest.mark.parametrize("adam", [False, True])
def test_a_rate_is_the_square_of_a_reparametrisation_and_for_adam_the_same(
    trajectory, adam
):
    """theta = s phi: SGD on phi is SGD on theta at s^2 the rate, Adam at s."""
    grads, start = np.random.default_rng(0).normal(size=(10, 3)), np.ones(3)
    inner = optax.adam(0.1, eps=0.0) if adam else optax.sgd(0.1)
    factor = 5.0 if adam else 25.0
    with jax.enable_x64(True):
        phi, _ = trajectory(inner, 5 * grads, start / 5)
        tx = optax.chain(inner, scale_by_name(otherwise=factor))
        theta, _ = trajectory(tx, grads, start)
    np.testing.assert_allclose(theta, 5 * phi, rtol=1e-10)
