import jax
import numpy as np
import optax
import pytest

from kexue_jax.optim import add_weissi, hold_norms, scale_by_amos_rates


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


@pytest.mark.parametrize("fade", ["inverse_time", "inverse_square"])
def test_amos_rates_are_their_formula_over_fifty_steps(trajectory, fade):
    start = {"kernel": drawn(4, 3), "bias": drawn(3)}
    grads = {"kernel": drawn(50, 4, 3, seed=1), "bias": drawn(50, 3, seed=2)}
    tx = scale_by_amos_rates(0.01, half_life=20, fade=fade, share=2.0)
    with jax.enable_x64(True):
        seen, _ = trajectory(tx, grads, start)
    for name, size in (("kernel", 0.02), ("bias", 0.5)):
        theta = start[name]
        for t, u in enumerate(grads[name]):
            fall = 1 / (t / 20 + 1)
            if fade == "inverse_square":
                fall = 1 / ((2**0.5 - 1) * t / 20 + 1) ** 2
            alpha = 0.01 * size * np.sqrt(u.size) / np.linalg.norm(u) * fall
            theta = theta - (alpha * u + 0.01**2 / 4 * fall * theta)
            np.testing.assert_allclose(seen[name][t], theta, rtol=1e-10)


def test_the_fade_solves_the_differential_equation_of_its_assumption():
    # dS/dt = a p exp(-S) or, with progress falling, a p exp(-2S); the fade is exp(-2S)
    for power, half in ((1, (2**0.5 - 1)), (2, 1.0)):
        s, dt, pace = 0.0, 1e-3, half / (1.0 if power == 1 else 2.0)
        for _ in range(1000):  # until T = 1, by the midpoint rule
            middle = s + 0.5 * dt * pace * np.exp(-power * s)
            s += dt * pace * np.exp(-power * middle)
        assert np.exp(-2 * s) == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: add_weissi(-1.0), "norm must not be negative, got -1.0"),
        (lambda: add_weissi(1.0, floor=0.0), "floor must be positive, got 0.0"),
        (lambda: scale_by_amos_rates(0.0), "rate must be positive, got 0.0"),
        (lambda: scale_by_amos_rates(half_life=0.0), "half_life must be positive"),
        (lambda: scale_by_amos_rates(fade="soon"), "fade must be .* got 'soon'"),
        (lambda: scale_by_amos_rates(sizes={"bias": 1.0}), "positive gain, got"),
    ],
)
def test_numbers_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
