import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import adax, adaxw, scale_by_adax
from kexue_jax.optim.adax import adax_rate


def stream(steps=50, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, 6)) * np.geomspace(
        1e-3, 10, 6
    )


def slow_adax(grads, theta, rate, b1, b2, eps, mode, decay, coupled):
    """The formula with v itself and its growing power, in float64."""
    theta, m, v, seen = theta.copy(), np.zeros(6), np.zeros(6), []
    for t, g in enumerate(grads, 1):
        g = g + decay * theta if coupled else g
        m = b1 * m + (1 - b1) * g
        v = (1 + b2) * v + b2 * g**2
        grown = (1 + b2) ** t - 1
        if mode == "inside":
            step = m / np.sqrt(v / grown + eps)
        elif mode == "outside":
            step = m / (np.sqrt(v / grown) + eps)
        else:
            step = m / ((np.sqrt(v) + eps) / np.sqrt(grown))
        theta = theta - rate * (step + (0 if coupled else decay * theta))
        seen.append(theta)
    return np.array(seen)


@pytest.mark.parametrize("mode", ["inside", "outside", "shrinking"])
@pytest.mark.parametrize("coupled", [True, False])
def test_adax_is_the_formula_over_fifty_steps(trajectory, mode, coupled):
    make, start = (adax if coupled else adaxw), np.linspace(-1, 1, 6)
    options = dict(b1=0.8, b2=1e-3, eps=1e-5, weight_decay=0.1)
    want = slow_adax(stream(), start, 0.01, 0.8, 1e-3, 1e-5, mode, 0.1, coupled)
    with jax.enable_x64(True):
        tx = make(0.01, **options, eps_mode=mode)
        got, _ = trajectory(tx, stream(), start)
        assert got.dtype == np.float64
    np.testing.assert_allclose(got, want, rtol=1e-10)


def test_float32_follows_the_formula_as_well(trajectory):
    start = np.linspace(-1, 1, 6)
    want = slow_adax(stream(), start, 5e-3, 0.9, 1e-4, 1e-12, "inside", 5e-2, False)
    got, _ = trajectory(adaxw(), stream().astype(np.float32), start.astype(np.float32))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_rate_is_exact_in_float32_and_ends_at_zero():
    count = np.array([1, 2, 10, 1000, 10_000, 50_000, 800_000, 2_000_000], np.int32)
    got = np.asarray(jax.jit(adax_rate)(count))
    want = 1e-4 / np.expm1(np.minimum(count * np.log1p(1e-4), 700.0))
    np.testing.assert_allclose(got[:-1], want[:-1], rtol=2e-6, atol=1e-37)
    np.testing.assert_allclose(got[:2], [1.0, 0.499975], rtol=2e-6)
    assert got[-1] < 1e-37


def test_a_vanishing_growth_is_the_plain_mean_of_squares(trajectory):
    grads = stream()
    with jax.enable_x64(True):
        _, state = trajectory(scale_by_adax(b2=1e-10), grads, np.zeros(6))
    np.testing.assert_allclose(state.nu, np.mean(grads**2, axis=0), rtol=1e-8)


def test_the_unit_of_the_loss_changes_nothing_and_the_first_step_is_small(trajectory):
    with jax.enable_x64(True):
        one, _ = trajectory(adax(1.0, eps=0.0), stream(), np.zeros(6))
        many, _ = trajectory(adax(1.0, eps=0.0), 1e3 * stream(), np.zeros(6))
    np.testing.assert_allclose(one, many, rtol=1e-10)
    np.testing.assert_allclose(one[0], -0.1 * np.sign(stream()[0]), rtol=1e-8)


def test_a_long_run_overflows_nothing():
    tx = scale_by_adax()

    @jax.jit
    def late(grads, state):
        return tx.update(grads, state)

    state = tx.init(jnp.ones(3))._replace(
        count=jnp.int32(2_000_000), nu=np.ones(3, "f")
    )
    updates, after = late(np.array([1e-3, 1.0, 1e3], np.float32), state)
    assert np.isfinite(updates).all()
    np.testing.assert_array_equal(after.nu, state.nu)


def test_nothing_seen_is_no_step_and_no_nan_and_a_nan_stays_one():
    grads = np.array([0.0, np.nan, 1.0], np.float32)

    def all_modes(g):
        txs = [scale_by_adax(eps=0.0, eps_mode=m) for m in ("inside", "shrinking")]
        return [tx.update(g, tx.init(g))[0] for tx in txs]

    for got in jax.jit(all_modes)(grads):
        np.testing.assert_allclose(got, [0.0, np.nan, 0.1], rtol=1e-6)


def test_hyperparameters_injected_in_bfloat16_make_no_nan():
    tx = optax.inject_hyperparams(scale_by_adax, static_args="eps_mode")()
    start = np.ones(3, jnp.bfloat16)
    got = jax.jit(lambda p: tx.update(p, tx.init(p), p)[0])(start)
    want = 1.0 - float(jnp.bfloat16(0.9))
    np.testing.assert_allclose(np.float32(got), want, rtol=1e-2)


def test_weights_without_gradient_decay_geometrically(trajectory):
    start = np.linspace(-1, 1, 6).astype(np.float32)
    got, _ = trajectory(
        adaxw(0.1, weight_decay=0.5), np.zeros((10, 6), np.float32), start
    )
    np.testing.assert_allclose(got[-1], start * 0.95**10, rtol=1e-5)


def test_adax_leaves_the_trap_that_adam_runs_into():
    """Gradients 3, -1, -1, on [-1, 1]: the sum asks for -1."""
    grads = np.tile(np.array([3.0, -1.0, -1.0], np.float32), 334)

    def end(tx):
        def step(carry, g):
            x, state = carry
            updates, state = tx.update(g, state, x)
            return (jnp.clip(x + updates, -1.0, 1.0), state), None

        start = jnp.zeros(())
        return jax.lax.scan(step, (start, tx.init(start)), grads)[0][0]

    rate = lambda count: 0.1 / jnp.sqrt(count + 1.0)  # noqa: E731
    adam, ours = jax.jit(
        lambda: (end(optax.adam(rate, b1=0.0, b2=0.1)), end(adax(rate, b1=0.0)))
    )()
    assert float(adam) > 0.9
    assert float(ours) < -0.9


def test_arguments_out_of_range_are_refused():
    for options, message in (
        (dict(b1=1.0), r"b1 must be in \[0, 1\), got 1.0"),
        (dict(b2=0.0), "b2 must be positive, got 0.0"),
        (dict(eps=-1.0), "eps must be at least 0"),
        (dict(eps_mode="post"), "eps_mode must be 'inside'"),
    ):
        with pytest.raises(ValueError, match=message):
            scale_by_adax(**options)
