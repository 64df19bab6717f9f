import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import mle_guided_step, spsa


def bowl(x):
    return 0.5 * jnp.sum(jnp.array([1.0, 4.0]) * jnp.square(x["w"])) + x["b"]


PLACE = {"w": np.array([1.0, -2.0], np.float32), "b": np.float32(0.3)}


def test_a_step_is_the_gain_times_a_difference_of_two_values():
    tx = spsa(a=0.2, c=0.1, A=3.0, seed=5)
    update = jax.jit(partial(tx.update, value_fn=bowl))
    place = np.array([0.3, 1.0, -2.0])
    scale = np.array([1.0, 4.0])

    def value(x):
        return 0.5 * np.sum(scale * x[1:] ** 2) + x[0]

    state, taken = tx.init(PLACE), set()
    for k in range(1, 7):
        step, state = update(PLACE, state, PLACE)
        gain, deviation = 0.2 / (3.0 + k) ** 0.602, 0.1 / k**0.101
        wanted = {}
        for signs in itertools.product((-1.0, 1.0), repeat=3):
            ends = [value(place + e * np.array(signs)) for e in (deviation, -deviation)]
            slope = (ends[0] - ends[1]) / (2.0 * deviation)
            wanted[signs] = -gain * slope * np.array(signs)
        got = np.concatenate([step["b"][None], step["w"]])
        fits = [s for s, want in wanted.items() if np.allclose(got, want, rtol=1e-4)]
        assert fits
        taken.add(fits[0])
    assert len(taken) > 1


def test_it_finds_the_top_of_a_loss_of_steps_without_any_gradient():
    def steps(x):
        return jnp.sum(jnp.abs(jnp.round(x - 3.0)))

    tx = spsa(a=1.0, c=1.0, A=30.0, directions=2)

    @jax.jit
    def descend(x):
        def step(carry, _):
            x, state = carry
            updates, state = tx.update(x, state, x, value_fn=steps)
            return (optax.apply_updates(x, updates), state), None

        return jax.lax.scan(step, (x, tx.init(x)), None, 300)[0][0]

    assert steps(descend(jnp.array([-4.0, 9.0, 1.0]))) == 0.0


@pytest.mark.parametrize(("mixture", "temperature"), [(1.0, 1.0), (0.5, 0.3)])
def test_many_guided_candidates_take_the_step_of_newton(mixture, temperature):
    # exp(-(L(x + d) - L(x)) / t) is a normal density around -L'/L'' for every t.
    def curve(x):
        return 2.0 * jnp.square(x) - x

    tx = mle_guided_step(
        20_000, deviation=1.5, mixture=mixture, temperature=temperature
    )
    x = jnp.array(1.0)
    update = jax.jit(partial(tx.update, value_fn=curve))
    step, _ = update(jnp.array(0.5), tx.init(x), x)
    np.testing.assert_allclose(step, -0.75, atol=0.03)


def test_one_candidate_is_taken_whatever_it_is_worth_and_none_if_its_loss_is_nan():
    for value, moves in ((7.0, True), (np.nan, False)):
        tx = mle_guided_step(1, deviation=0.1, mixture=1e-6)
        update = partial(tx.update, value_fn=lambda x, v=value: v * x["b"])
        step, _ = jax.jit(update)(PLACE, tx.init(PLACE), PLACE)
        apart = np.abs(step["w"] - PLACE["w"])
        assert (apart < 0.5).all() if moves else not step["w"].any()


def test_what_is_missing_or_out_of_range_is_named():
    tx = spsa()
    with pytest.raises(ValueError, match="spsa needs values of the loss"):
        tx.update(PLACE, tx.init(PLACE), PLACE)
    with pytest.raises(ValueError, match="needs the params"):
        tx.update(PLACE, tx.init(PLACE), value_fn=bowl)
    for options in (dict(a=0.0), dict(c=0.0), dict(A=-1.0), dict(directions=0)):
        with pytest.raises(ValueError, match="must"):
            spsa(**options)
    for options in (dict(candidates=0), dict(mixture=0.0), dict(temperature=0.0)):
        with pytest.raises(ValueError, match="must"):
            mle_guided_step(**options)
