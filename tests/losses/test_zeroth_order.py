import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.zeroth_order import zeroth_order_gradient
from kexue_jax.data.small_tables import iris
from kexue_jax.losses.zeroth_order import zeroth_order

OPTIONS = dict(deviation=1e-2, directions=6, chunk=3)


def plain(loss, problem):
    """The loss under the key that the wrap hands on, and that of its directions."""
    _, extras, batch, rng = problem
    inner, own = jax.random.split(rng)
    return lambda params: loss(params, extras, batch, inner), own


def test_value_extras_and_scores_are_those_of_the_loss_and_the_gradient_is_estimated(
    loss, problem
):
    wrapped = zeroth_order(loss, **OPTIONS)
    (value, (extras, scores)), grads = jax.jit(
        jax.value_and_grad(wrapped, has_aux=True)
    )(*problem)
    same, own = plain(loss, problem)
    want, (after, kept) = same(problem[0])
    np.testing.assert_allclose(value, want, rtol=1e-6)
    assert extras == after
    np.testing.assert_allclose(scores["loss"], kept["loss"], rtol=1e-6)
    leaves, structure = jax.tree.flatten(problem[0])
    slopes = zeroth_order_gradient(
        lambda x: same(jax.tree.unflatten(structure, x))[0], leaves, own, **OPTIONS
    )
    for got, slope in zip(jax.tree.leaves(grads), slopes, strict=True):
        np.testing.assert_allclose(got, slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("others", ["zero", "gradient"])
def test_only_the_leaves_named_are_moved(others, loss, problem):
    wrapped = zeroth_order(
        loss,
        deviation=1e-2,
        directions=18,
        distribution="orthogonal",
        leaves=("second",),
        others=others,
    )
    grads, _ = jax.jit(jax.grad(wrapped, has_aux=True))(*problem)
    same, _ = plain(loss, problem)
    want, _ = jax.grad(same, has_aux=True)(problem[0])
    np.testing.assert_allclose(grads["second"], want["second"], atol=1e-3)
    for name in ("first", "bias"):
        expected = want[name] if others == "gradient" else 0.0
        np.testing.assert_allclose(grads[name], expected, rtol=1e-5, atol=1e-7)


def test_a_loss_of_the_host_is_trained_like_any_other(problem):
    params, extras, batch, rng = problem

    def on_the_host(params, extras, batch, rng):
        value = jax.pure_callback(
            lambda x: np.float32(np.sum(x)),
            jax.ShapeDtypeStruct((), jnp.float32),
            params["first"],
        )
        return value, (extras, {})

    wrapped = zeroth_order(
        on_the_host,
        deviation=0.1,
        directions=24,
        distribution="orthogonal",
        leaves="first",
    )
    grads, _ = jax.jit(jax.grad(wrapped, has_aux=True))(params, extras, batch, rng)
    np.testing.assert_allclose(grads["first"], 1.0, rtol=1e-3)


def test_a_step_function_is_descended(problem):
    batch = problem[2]

    def wrong(params, extras, batch, rng):
        scores = batch["inputs"] @ params
        right = jnp.argmax(scores, axis=-1) == batch["label"]
        return 1.0 - jnp.mean(right), (extras, {})

    wrapped = zeroth_order(wrong, deviation=0.5, directions=32, chunk=32)

    def step(params, key):
        slope, _ = jax.grad(wrapped, has_aux=True)(params, {}, batch, key)
        return params - slope, None

    keys = jax.random.split(jax.random.key(1), 60)
    last, _ = jax.jit(lambda p: jax.lax.scan(step, p, keys))(jnp.zeros((4, 3)))
    assert wrong(last, {}, batch, None)[0] == 0.0


def test_what_does_not_fit_is_refused(loss, problem):
    with pytest.raises(ValueError, match="deviation must be positive"):
        zeroth_order(loss, deviation=-1.0)
    with pytest.raises(ValueError, match="others must be"):
        zeroth_order(loss, deviation=1.0, others="mean")
    with pytest.raises(ValueError, match="no leaf under 'third'"):
        zeroth_order(loss, deviation=1.0, leaves=("third",))(*problem)
    with pytest.raises(ValueError, match="needs a key"):
        zeroth_order(loss, deviation=1.0)(*problem[:3], None)
    with pytest.raises(ValueError, match="takes a loss of one number"):
        zeroth_order(lambda *_: (jnp.ones(2), ({}, {})), deviation=1.0)(*problem)


@pytest.mark.slow
def test_irises_are_told_apart_by_training_on_accuracy_itself():
    flowers = iris()

    def wrong(params, extras, batch, rng):
        scores = flowers.inputs @ params["kernel"] + params["bias"][None]
        right = jnp.argmax(scores, axis=-1) == flowers.label
        return 1.0 - jnp.mean(right), (extras, {})

    wrapped = zeroth_order(wrong, deviation=0.5, directions=64, chunk=64)

    def step(params, key):
        slope, _ = jax.grad(wrapped, has_aux=True)(params, {}, {}, key)
        return jax.tree.map(jnp.subtract, params, slope), None

    start = {"kernel": jnp.zeros((4, 3)), "bias": jnp.zeros(3)}
    keys = jax.random.split(jax.random.key(0), 300)
    last, _ = jax.jit(lambda p: jax.lax.scan(step, p, keys))(start)
    assert 1.0 - wrong(last, {}, {}, None)[0] > 0.96
