from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kexue_jax.losses.adversarial import adversarial, free_adversarial
from kexue_jax.losses.gradient_penalty import input_gradient_penalty
from kexue_jax.losses.sharpness import sharpness_aware

WEIGHT = np.array([0.6, -0.8, 0.5], np.float32)
INPUTS = np.array([[1.0, 2.0, 0.0], [0.5, -1.0, 3.0], [0.0, 0.0, 0.0]], np.float32)
SIGN = np.array([1.0, -1.0, 1.0], np.float32)


def linear(params, extras, batch, rng):
    """The logistic loss of margins."""
    margin = batch["sign"] * (batch["inputs"] @ params)
    return jnp.mean(jnp.logaddexp(0.0, -margin)), (extras, {"margin": margin.mean()})


def both(loss):
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


BATCH = {"inputs": INPUTS, "sign": SIGN}


@pytest.mark.parametrize(
    ("options", "length"),
    [
        (dict(norm="l2"), np.linalg.norm(WEIGHT)),
        (dict(norm="linf"), np.abs(WEIGHT).sum()),
        (dict(norm="l2", steps=3), np.linalg.norm(WEIGHT)),
        (dict(norm="linf", steps=4, step_size=0.1), np.abs(WEIGHT).sum()),
    ],
)
def test_of_a_linear_model_it_takes_the_radius_off_every_margin(options, length):
    wrapped = adversarial(linear, radius=0.3, clean=0.5, **options)
    (value, (_, scores)), grads = both(wrapped)(WEIGHT, {}, BATCH, None)
    margin = SIGN * (INPUTS @ WEIGHT)
    hard = np.mean(np.logaddexp(0.0, 0.3 * length - margin))
    np.testing.assert_allclose(scores["adversarial_loss"], hard, rtol=1e-5)
    plain = np.mean(np.logaddexp(0.0, -margin))
    np.testing.assert_allclose(value, hard + 0.5 * plain, rtol=1e-5)
    np.testing.assert_allclose(scores["margin"], margin.mean(), rtol=1e-5)
    assert np.isfinite(grads).all()


@pytest.mark.parametrize("squared", [True, False])
def test_to_first_order_it_is_a_penalty_on_the_gradient(squared):
    with jax.enable_x64(True):
        args = jax.tree.map(lambda x: x.astype(np.float64), (WEIGHT, {}, BATCH))

        def apart(radius):
            near = adversarial(linear, radius=radius, norm="raw" if squared else "l2")
            like = input_gradient_penalty(linear, weight=radius, squared=squared)
            first, second = (jax.grad(f, has_aux=True) for f in (near, like))
            return first(*args, None)[0] - second(*args, None)[0]

        far, close = jax.jit(lambda: [abs(apart(r)).max() for r in (1e-2, 5e-3)])()
        assert 3.5 < far / close < 4.5


def test_a_table_is_moved_whole_and_a_leaf_without_gradient_stays(loss, problem):
    params, extras, batch, raw = problem
    key = jax.random.wrap_key_data(raw)
    table = dict(leaf="params/first", per="whole", radius=0.5)
    (_, (after, scores)), _ = both(adversarial(loss, **table))(
        params, extras, batch, key
    )
    slope = jax.jit(jax.grad(loss, has_aux=True))(params, extras, batch, key)[0]
    way = np.asarray(slope["first"], np.float64)
    moved = params | {
        "first": (params["first"] + 0.5 * way / np.linalg.norm(way)).astype(np.float32)
    }
    want, _ = jax.jit(loss)(moved, extras, batch, key)
    np.testing.assert_allclose(scores["adversarial_loss"], want, rtol=1e-5)
    assert after["calls"] == 1  # the attack leaves no trace

    def flat(params, extras, batch, rng):
        return jnp.mean(params["bias"]) + 0.0 * batch["inputs"].sum(), (extras, {})

    still = adversarial(flat, radius=1.0, steps=2)
    (value, _), grads = both(still)(params, extras, batch, None)
    np.testing.assert_allclose(value, params["bias"].mean(), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in grads.values())


def test_free_ascents_have_the_gradients_of_each_place_on_the_way(loss, problem):
    params, extras, batch, _ = problem
    options = dict(radius=0.4, steps=3, step_size=0.25)
    (value, (after, scores)), grads = both(free_adversarial(loss, **options))(
        params, extras, batch, None
    )
    both_ways = jax.jit(
        jax.value_and_grad(loss, argnums=(0, 2), has_aux=True, allow_int=True)
    )
    change, values, slopes = np.zeros_like(batch["inputs"]), [], []
    for _ in range(3):
        near = batch | {"inputs": batch["inputs"] + change}
        (here, _), (slope, uphill) = both_ways(params, extras, near, None)
        values.append(here)
        slopes.append(slope)
        way = np.asarray(uphill["inputs"])
        change = change + 0.25 * way / np.linalg.norm(way, axis=1, keepdims=True)
        size = np.linalg.norm(change, axis=1, keepdims=True)
        change = change * np.minimum(1.0, 0.4 / size)
    np.testing.assert_allclose(value, np.mean(values), rtol=1e-5)
    np.testing.assert_allclose(scores["adversarial_loss"], values[-1], rtol=1e-5)
    assert after["calls"] == 1
    for name, found in grads.items():
        want = np.mean([slope[name] for slope in slopes], axis=0)
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-6)


def test_sharpness_is_that_of_optax(loss, problem):
    params, extras, batch, _ = problem
    slope = jax.jit(jax.grad(lambda p: loss(p, extras, batch, None)[0]))
    _, grads = both(sharpness_aware(loss, radius=0.1))(params, extras, batch, None)
    sam = optax.contrib.sam(
        optax.sgd(1.0),
        optax.chain(optax.contrib.normalize(), optax.sgd(0.1)),
        opaque_mode=True,
        sync_period=2,
    )
    updates, _ = sam.update(
        slope(params), sam.init(params), params, grad_fn=lambda p, _: slope(p)
    )
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
        grads,
        jax.tree.map(np.negative, updates),
    )


def test_to_first_order_sharpness_is_a_penalty_on_the_norm_of_the_gradient():
    with jax.enable_x64(True):
        args = jax.tree.map(lambda x: x.astype(np.float64), (WEIGHT, {}, BATCH))
        value = lambda w: linear(w, {}, args[2], None)[0]  # noqa: E731

        def apart(radius):
            near = jax.grad(sharpness_aware(linear, radius=radius), has_aux=True)

            def like(w):
                return value(w) + radius * jnp.sqrt(jnp.sum(jax.grad(value)(w) ** 2))

            return near(*args, None)[0] - jax.grad(like)(args[0])

        far, close = jax.jit(lambda: [abs(apart(r)).max() for r in (1e-2, 5e-3)])()
        assert 3.5 < far / close < 4.5


def test_gradients_whose_squares_are_nothing_have_a_direction():
    def faint(params, extras, batch, rng):
        return 1e-25 * jnp.sum(batch["inputs"] @ params), (extras, {})

    wrapped = adversarial(faint, radius=0.5)
    (_, (_, scores)), _ = both(wrapped)(WEIGHT, {}, BATCH, None)
    want = np.sum(INPUTS @ WEIGHT) + 3 * 0.5 * np.linalg.norm(WEIGHT)
    np.testing.assert_allclose(scores["adversarial_loss"], 1e-25 * want, rtol=1e-5)


def test_what_does_not_fit_is_refused():
    for name, value in (
        ("radius", -0.1),
        ("norm", "l1"),
        ("per", "batch"),
        ("steps", 0),
        ("step_size", 0.0),
        ("clean", -1.0),
    ):
        with pytest.raises(ValueError, match=f"{name} must .* got .*{value}"):
            adversarial(linear, **({"radius": 0.1} | {name: value}))
    with pytest.raises(ValueError, match="norm raw takes one step"):
        adversarial(linear, radius=0.1, norm="raw", steps=2)
    with pytest.raises(ValueError, match="steps must be at least 2, got 1"):
        free_adversarial(linear, radius=0.1, steps=1)
    with pytest.raises(ValueError, match="radius must not be negative, got -1"):
        sharpness_aware(linear, radius=-1)
