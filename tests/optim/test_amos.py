import jax
import numpy as np
import pytest

from kexue_jax.optim.amos import SIZES, scale_by_amos_rates


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


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
        (lambda: scale_by_amos_rates(0.0), "rate must be positive, got 0.0"),
        (lambda: scale_by_amos_rates(half_life=0.0), "half_life must be positive"),
        (lambda: scale_by_amos_rates(fade="soon"), "fade must be .* got 'soon'"),
        (lambda: scale_by_amos_rates(sizes={"bias": 1.0}), "positive gain, got"),
    ],
)
def test_numbers_out_of_range_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_a_direction_of_zeros_decays_and_an_unknown_role_is_refused():
    params = {"kernel": drawn(4, 3).astype(np.float32)}
    tx, zero = scale_by_amos_rates(0.1), jax.tree.map(np.zeros_like, params)
    step, _ = tx.update(zero, tx.init(params), params)
    np.testing.assert_allclose(step["kernel"], -0.005 * params["kernel"], rtol=1e-6)
    tx = scale_by_amos_rates(labels={"kernel": "else"}, sizes=SIZES)
    with pytest.raises(ValueError, match=r"labels must be among .* got 'else'"):
        tx.update(zero, tx.init(params), params)
