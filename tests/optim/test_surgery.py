from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.optim import sum_gradients, sum_unit_gradients


def gradients(objectives=3, seed=0):
    draws = np.random.default_rng(seed)
    shapes = {"w": (objectives, 4, 5), "b": (objectives, 5)}
    return {
        name: draws.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@partial(jax.jit, static_argnums=0)
def merge(make, grads, params=None):
    tx = make()
    return tx.update(grads, tx.init(params), params)


def slow_unit_sum(grads):
    """The formula, objective by objective, in float64."""
    wide = {name: np.asarray(g, np.float64) for name, g in grads.items()}
    total = {name: np.zeros(g.shape[1:]) for name, g in wide.items()}
    for k in range(len(wide["w"])):
        norm = np.sqrt(sum(np.sum(g[k] ** 2) for g in wide.values()))
        for name, g in wide.items():
            total[name] += g[k] / norm
    return total


def test_unit_gradients_are_the_formula():
    grads = gradients()
    got, _ = merge(sum_unit_gradients, grads)
    want = slow_unit_sum(grads)
    for name in grads:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5, atol=1e-6)


def test_unit_gradients_ignore_the_unit_of_a_loss_and_the_sum_does_not():
    grads = gradients()
    factors = np.array([1.0, 100.0, 0.01], np.float32)
    scale = lambda g: g * factors.reshape(-1, *[1] * (g.ndim - 1))  # noqa: E731
    scaled = jax.tree.map(scale, grads)
    for make, same in ((sum_unit_gradients, True), (sum_gradients, False)):
        before, after = merge(make, grads)[0], merge(make, scaled)[0]
        assert np.allclose(before["w"], after["w"], rtol=1e-5, atol=1e-6) is same


def test_two_unit_gradients_point_downhill_for_both():
    for seed in range(20):
        grads = gradients(2, seed)
        got, _ = jax.device_get(merge(sum_unit_gradients, grads))
        inner = [
            sum(np.vdot(g[k], got[name]) for name, g in grads.items()) for k in range(2)
        ]
        assert min(inner) > -1e-5


def test_an_objective_at_rest_adds_nothing_and_no_nan():
    grads = gradients(2)
    for gradient in grads.values():
        gradient[1] = 0.0
    got, state = merge(sum_unit_gradients, grads)
    alone = jax.tree.map(lambda g: g[:1], grads)
    want, _ = merge(sum_unit_gradients, alone)
    np.testing.assert_allclose(got["w"], want["w"], rtol=1e-6)
    assert float(state.scores["least_gradient_norm"]) == 0


@pytest.mark.parametrize("make", [sum_gradients, sum_unit_gradients])
def test_merging_keeps_bfloat16_and_works_under_jit_in_a_chain(make):
    grads = jax.tree.map(lambda g: g.astype(jnp.bfloat16), gradients())
    params = jax.tree.map(lambda g: g[0], grads)
    tx = optax.chain(make(), optax.clip_by_global_norm(1.0), optax.sgd(0.1))
    update = jax.jit(tx.update)
    got, _ = update(grads, jax.jit(tx.init)(params), params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), got) == jax.tree.map(
        lambda x: (x.shape, x.dtype), params
    )


@pytest.mark.parametrize("make", [sum_gradients, sum_unit_gradients])
def test_gradients_without_the_axis_of_objectives_are_refused(make):
    grads = {"w": np.ones((3, 4)), "b": np.ones(2)}
    with pytest.raises(ValueError, match="leading axis K"):
        merge(make, grads)
    with pytest.raises(ValueError, match="shape of the parameter"):
        merge(make, {"w": np.ones((3, 4))}, {"w": np.ones((3, 4))})


def test_a_floor_of_zero_is_refused():
    with pytest.raises(ValueError, match="floor must be positive, got 0"):
        sum_unit_gradients(floor=0)


def test_the_state_keeps_its_structure():
    grads = gradients()
    before = sum_unit_gradients().init(grads)
    _, after = merge(sum_unit_gradients, grads)
    assert jax.tree.map(jnp.result_type, before) == jax.tree.map(jnp.result_type, after)
