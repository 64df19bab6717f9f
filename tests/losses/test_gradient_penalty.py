from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.losses.gradient_penalty import gradient_penalty, input_gradient_penalty


def both(loss):
    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def float64(problem):
    params, extras, batch, _ = problem
    wide = {name: np.asarray(x, np.float64) for name, x in params.items()}
    inputs = batch["inputs"].astype(np.float64)
    return wide, extras, batch | {"inputs": inputs}, None


def test_the_three_ways_give_g_and_twice_its_product_with_the_hessian(loss, problem):
    with jax.enable_x64(True):
        args = float64(problem)
        plain = lambda params: loss(params, *args[1:])[0]  # noqa: E731

        @jax.jit
        def reference(params):
            flat, back = jax.flatten_util.ravel_pytree(params)
            slope = jax.grad(lambda x: plain(back(x)))(flat)
            curve = jax.hessian(lambda x: plain(back(x)))(flat)
            whole = slope + 2.0 * 0.3 * curve @ slope
            return plain(params) + 0.3 * slope @ slope, back(whole)

        value, slopes = reference(args[0])
        for method, tolerance in (("reverse", 1e-9), ("forward", 1e-9)):
            wrapped = gradient_penalty(loss, weight=0.3, method=method)
            (found, (extras, scores)), grads = both(wrapped)(*args)
            np.testing.assert_allclose(found, value, rtol=1e-6)
            jax.tree.map(
                partial(np.testing.assert_allclose, rtol=1e-6, atol=tolerance),
                grads,
                slopes,
            )
            assert extras["calls"] == 1
            assert scores["gradient_square"] > 0
        rough = gradient_penalty(loss, weight=0.3, method="difference", radius=1e-4)
        _, grads = both(rough)(*args)
        jax.tree.map(
            partial(np.testing.assert_allclose, rtol=2e-3, atol=1e-4), grads, slopes
        )


def test_dropout_is_that_of_the_loss_and_no_weight_changes_nothing(loss, problem):
    params, extras, batch, raw = problem
    key = jax.random.wrap_key_data(raw)
    wrapped = gradient_penalty(loss, weight=0.0)
    (value, _), grads = both(wrapped)(params, extras, batch, key)
    (want, _), slopes = both(loss)(params, extras, batch, key)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), grads, slopes)


def quadratic(params, extras, batch, rng):
    x = batch["inputs"] @ params
    return 0.5 * jnp.mean(jnp.square(x)), (extras, {})


@pytest.mark.parametrize("squared", [True, False])
def test_the_penalty_on_inputs_is_the_mean_over_examples(squared):
    inputs = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 0.0]], np.float32)
    params = np.array([0.6, -0.8], np.float32)
    wrapped = input_gradient_penalty(quadratic, weight=0.5, squared=squared)
    (value, (_, scores)), grads = both(wrapped)(params, {}, {"inputs": inputs}, None)
    norms = np.abs(inputs @ params)  # of an example's own loss: |w.x| |w|, |w| = 1
    penalty = 0.25 * np.mean(norms**2) if squared else 0.5 * np.mean(norms)
    plain = 0.5 * np.mean((inputs @ params) ** 2)
    np.testing.assert_allclose(value, plain + penalty, rtol=1e-6)
    np.testing.assert_allclose(scores["input_gradient"], np.mean(norms), rtol=1e-6)
    assert np.isfinite(grads).all()


def test_a_table_of_parameters_is_penalised_whole(loss, problem):
    params, extras, batch, _ = problem
    wrapped = input_gradient_penalty(loss, weight=1.0, leaf="params/first", per="whole")
    (value, _), _ = both(wrapped)(params, extras, batch, None)
    (plain, _), slopes = both(loss)(params, extras, batch, None)
    want = plain + 0.5 * np.sum(np.square(slopes["first"]))
    np.testing.assert_allclose(value, want, rtol=1e-5)


def test_what_does_not_fit_is_refused(loss, problem):
    for name, value in (("weight", -1.0), ("radius", 0.0), ("method", "back")):
        with pytest.raises(ValueError, match=f"{name} must .* got .*{value}"):
            gradient_penalty(loss, **({"weight": 1.0} | {name: value}))
    with pytest.raises(ValueError, match="there is no leaf 'batch/input'; there are"):
        input_gradient_penalty(loss, weight=1.0, leaf="batch/input")(*problem)
    with pytest.raises(ValueError, match="leaf must be batch/<entry> or"):
        input_gradient_penalty(loss, weight=1.0, leaf="inputs")(*problem)
    with pytest.raises(ValueError, match="'batch/label' must be floating, got int"):
        input_gradient_penalty(loss, weight=1.0, leaf="batch/label")(*problem)
    parts = lambda *args: (jnp.ones(2) * args[0]["bias"][0], (args[1], {}))  # noqa: E731
    with pytest.raises(
        ValueError, match=r"gradient_penalty takes a loss of one number"
    ):
        gradient_penalty(parts, weight=1.0)(*problem)


def test_a_penalty_on_parameters_contains_one_on_inputs():
    """For tanh layers: the input gradient, weighed layer by layer, is the smaller."""
    rng = np.random.default_rng(0)
    kernels = [rng.normal(size=s) for s in ((4, 6), (6, 5), (5, 3))]
    biases = [rng.normal(size=k.shape[1]) for k in kernels]
    x, mix = rng.normal(size=4), rng.normal(size=3)

    def hidden(x, depth):
        for kernel, bias in zip(kernels[:depth], biases[:depth], strict=True):
            x = np.tanh(x @ kernel + bias)
        return x

    def jacobian(depth):  # of what layer `depth` reads, by the input
        found = np.eye(4)
        for at in range(depth):
            slope = 1 - hidden(x, at + 1) ** 2
            found = found @ (kernels[at] * slope)
        return found

    back, of_params, share = mix, 0.0, 0.0
    for at in reversed(range(3)):
        back = back * (1 - hidden(x, at + 1) ** 2)  # by what the layer adds up
        reads = hidden(x, at)
        of_params += np.sum(back**2) * (1 + np.sum(reads**2))
        norms = [np.linalg.norm(m, 2) ** 2 for m in (kernels[at], jacobian(at))]
        share += (1 + np.sum(reads**2)) / np.prod(norms)
        back = kernels[at] @ back
    assert np.sum(back**2) * share <= of_params
