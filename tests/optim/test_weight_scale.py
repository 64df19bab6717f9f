import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import add_weissi, hold_norms


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_decoupled_the_square_of_a_norm_falls_by_the_same_amount_whatever_it_is(
    trajectory,
):
    tx = optax.chain(optax.scale_by_adam(), add_weissi(0.5), optax.scale(-1e-3))
    unit = drawn(4, 3) / np.linalg.norm(drawn(4, 3))
    start = {"small": unit, "large": 100.0 * unit}
    zero = jax.tree.map(lambda x: np.zeros((10, *x.shape)), start)
    with jax.enable_x64(True):
        seen, _ = trajectory(tx, zero, start)
    for name in start:
        squares = np.sum(seen[name] ** 2, axis=(1, 2))
        np.testing.assert_allclose(np.diff(squares), -1e-3, rtol=1e-3)


def test_plain_descent_with_weissi_is_its_formula_over_fifty_steps(trajectory):
    tx = optax.chain(add_weissi(0.5, 0.01), optax.scale(-1e-2))
    start, grads = {"kernel": drawn(4, 3)}, {"kernel": drawn(50, 4, 3, seed=1)}
    with jax.enable_x64(True):
        seen, _ = trajectory(tx, grads, start)
    w = start["kernel"]
    for step, g in enumerate(grads["kernel"]):
        size, total = np.linalg.norm(w), np.abs(w).sum()
        turn = (np.sign(w) - total / size**2 * w) / size
        w = w - 1e-2 * (g + 0.5 * w / size**2 + 0.01 * turn)
        np.testing.assert_allclose(seen["kernel"][step], w, rtol=1e-9, atol=1e-12)


def test_held_norms_do_not_grow_and_steps_inwards_pass():
    params = {"kernel": drawn(4, 3), "bias": drawn(3)}
    tx = hold_norms()
    out = jax.tree.map(lambda x: -x + 0.1, params)  # descent would lengthen
    with jax.enable_x64(True):
        update = jax.jit(lambda g: tx.update(g, tx.init(params), params)[0])
        held, free = jax.device_get((update(out), update(params)))
    assert np.sum(out["kernel"] * params["kernel"]) < 0
    assert abs(np.sum(held["kernel"] * params["kernel"])) < 1e-12
    np.testing.assert_array_equal(held["bias"], out["bias"])
    np.testing.assert_array_equal(free["kernel"], params["kernel"])
    # the least change that does it: along the weights alone
    w = params["kernel"] / np.linalg.norm(params["kernel"])
    change = held["kernel"] - out["kernel"]
    np.testing.assert_allclose(change, np.sum(change * w) * w, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: add_weissi(-1.0), "norm must not be negative, got -1.0"),
        (lambda: add_weissi(1.0, floor=0.0), "floor must be positive, got 0.0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
