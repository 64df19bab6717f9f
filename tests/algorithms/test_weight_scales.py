import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.weight_scales import (
    Layer,
    balancing_factors,
    scale_layers,
    weissi,
)

SIZES = (5, 7, 6, 3)


def network(seed=0):
    rng = np.random.default_rng(seed)
    return [
        Layer(rng.normal(size=(a, b)), rng.normal(size=b))
        for a, b in itertools.pairwise(SIZES)
    ]


def outputs(layers, inputs, leak=0.0):
    for place, (kernel, bias) in enumerate(layers):
        inputs = inputs @ kernel + bias
        if place < len(layers) - 1:
            inputs = np.where(inputs > 0, inputs, leak * inputs)
    return inputs


def in_float64(function, *args):
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(function)(*args))


def test_a_shift_of_scale_changes_no_output_and_the_rule_of_the_post_does():
    layers, inputs = network(), np.random.default_rng(1).normal(size=(9, 5))
    factors = np.array([3.0, 0.1, 1 / 0.3])
    moved = in_float64(scale_layers, layers, factors)
    for leak in (0.0, 0.1, 1.0):
        want = outputs(layers, inputs, leak)
        np.testing.assert_allclose(outputs(moved, inputs, leak), want, rtol=1e-9)
    post = [
        Layer(c * kernel, c * bias)
        for c, (kernel, bias) in zip(factors, layers, strict=True)
    ]
    assert np.abs(outputs(post, inputs) - outputs(layers, inputs)).max() > 1


def test_without_a_product_of_one_the_output_is_multiplied_by_it():
    layers, inputs = network(), np.random.default_rng(1).normal(size=(9, 5))
    moved = in_float64(scale_layers, layers, np.array([2.0, 3.0, 0.5]))
    np.testing.assert_allclose(
        outputs(moved, inputs), 3.0 * outputs(layers, inputs), rtol=1e-12
    )


def test_a_layer_may_have_no_bias_and_factors_must_be_as_many():
    layers = [Layer(np.ones((2, 2), np.float32))] * 2
    moved = scale_layers(layers, np.array([2.0, 0.5], np.float32))
    assert [x.bias for x in moved] == [None, None]
    with pytest.raises(ValueError, match=r"\(2,\), got \(3,\)"):
        scale_layers(layers, np.ones(3))


def test_balance_reaches_the_bound_of_means_on_the_sum_of_squares():
    layers = network()

    def balanced(layers):
        factors = balancing_factors(layers)
        return factors, scale_layers(layers, factors)

    factors, moved = in_float64(balanced, layers)
    norms = np.array([np.linalg.norm(x.kernel) for x in layers])
    even = np.prod(norms) ** (1 / 3)
    np.testing.assert_allclose(np.prod(factors), 1.0, rtol=1e-12)
    np.testing.assert_allclose(
        [np.linalg.norm(x.kernel) for x in moved], [even] * 3, rtol=1e-12
    )
    rng = np.random.default_rng(2)
    for _ in range(20):  # no other shift has less
        other = rng.lognormal(size=3)
        other /= np.prod(other) ** (1 / 3)
        assert np.sum((other * norms) ** 2) > 3 * even**2
    zero = [Layer(np.zeros((2, 2), np.float32)), Layer(np.ones((2, 2), np.float32))]
    np.testing.assert_array_equal(balancing_factors(zero), [1.0, 1.0])


OPTIONS = dict(norm=0.3, direction=0.02, floor=1e-3)


def test_the_penalty_and_its_slope_are_their_formulas():
    kernel = network()[1].kernel
    found = in_float64(jax.value_and_grad(lambda w: weissi(w, **OPTIONS)), kernel)
    size, total = np.linalg.norm(kernel), np.abs(kernel).sum()
    value = 0.3 * np.log(size) + 0.02 * total / size
    pull = 0.3 * kernel / size**2
    turn = 0.02 * (np.sign(kernel) - total / size**2 * kernel) / size
    np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1], pull + turn, rtol=1e-10)
    assert np.sum(found[1] * kernel) == pytest.approx(0.3, rel=1e-12)
    assert abs(np.sum(turn * kernel)) < 1e-14


def test_the_penalty_does_not_see_a_shift_and_its_slope_falls_with_the_scale():
    layers, factors = network(), np.array([3.0, 0.1, 1 / 0.3])

    def both(layers, factors):
        def total(layers):
            return sum(weissi(x.kernel, **OPTIONS) for x in layers)

        return [jax.value_and_grad(total)(x) for x in (layers, factors)]

    moved = in_float64(scale_layers, layers, factors)
    (before, slopes), (after, others) = in_float64(both, layers, moved)
    assert after == pytest.approx(before, rel=1e-12)
    for factor, a, b in zip(factors, slopes, others, strict=True):
        np.testing.assert_allclose(b.kernel, a.kernel / factor, rtol=1e-9, atol=1e-15)


def test_the_directions_term_lies_between_one_entry_and_equal_entries():
    def of(w):
        return weissi(w, norm=0.0, direction=1.0, floor=1e-3)

    single = np.zeros((4, 4), np.float32)
    single[1, 2] = -7.0
    assert float(of(single)) == pytest.approx(1.0)
    assert float(of(np.full((4, 4), -0.3, np.float32))) == pytest.approx(4.0)


def test_stacked_layers_have_norms_of_their_own_and_zeros_are_finite():
    rng = np.random.default_rng(0)
    stack = rng.normal(size=(3, 4, 5)).astype(np.float32)
    stack[1] = 0.0
    value, slope = jax.jit(
        jax.value_and_grad(lambda w: weissi(w, **OPTIONS, stacked=1))
    )(stack)
    parts = [weissi(w, **OPTIONS) for w in stack]
    assert float(value) == pytest.approx(float(sum(parts)), rel=1e-5)
    assert np.isfinite(slope).all()
    assert not slope[1].any()
    assert weissi(jnp.ones((2, 2), jnp.bfloat16), **OPTIONS).dtype == jnp.float32
