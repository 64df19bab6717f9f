import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.losses import output_gradient_penalty
from kexue_jax.losses.virtual_adversarial import divergence_of_scores

KEY = np.array([0, 3], np.uint32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


MATRIX, INPUTS = normal(4, 3), normal(5, 4, seed=1)


def score(x):
    return jnp.dot(jnp.tanh(x), MATRIX)


def jacobians():
    """Of every output by every input: ``[B, C, D]``, and the outputs."""
    slope = 1 - np.tanh(np.float64(INPUTS)) ** 2
    return MATRIX.T[None] * slope[:, None], np.tanh(np.float64(INPUTS)) @ MATRIX


def exact(kind):
    found, outputs = jacobians()
    if kind == "squares":
        return np.mean(np.sum(found**2, axis=(1, 2)))
    p = scipy.special.softmax(outputs, -1)
    log = found - np.einsum("bc,bcd->bd", p, found)[:, None]
    return 0.5 * np.mean(np.einsum("bc,bcd->b", p, log**2))


@pytest.mark.parametrize("kind", ["squares", "divergence"])
def test_over_signs_it_is_the_weighed_jacobian_and_what_noise_costs(kind):
    @jax.jit
    def found(raw):
        key = jax.random.wrap_key_data(raw)
        many = dict(deviation=1.0, kind=kind, draws=4000)
        penalty = output_gradient_penalty(score, INPUTS, key, **many)
        noise = 0.03 * jax.random.normal(key, (4000, *INPUTS.shape))
        moved = jax.lax.map(lambda n: score(INPUTS + n), noise)
        if kind == "squares":
            cost = jnp.sum((moved - score(INPUTS)[None]) ** 2, axis=-1)
        else:
            still = jnp.broadcast_to(score(INPUTS)[None], moved.shape)
            cost = divergence_of_scores(still, moved)
        return penalty, jnp.mean(cost) / 0.03**2

    penalty, cost = found(KEY)
    assert penalty == pytest.approx(exact(kind), rel=0.03)
    assert cost == pytest.approx(exact(kind), rel=0.03)


def test_the_mean_over_all_signs_is_exact():
    found, _ = jacobians()
    totals = [
        np.sum(np.einsum("c,bcd->bd", np.array(signs), found) ** 2, axis=1)
        for signs in itertools.product((-1, 1), repeat=3)
    ]
    np.testing.assert_allclose(
        np.mean(totals, axis=0), np.sum(found**2, axis=(1, 2)), rtol=1e-12
    )


def test_its_gradient_is_finite_at_certainty_and_what_does_not_fit_is_refused():
    @jax.jit
    def slope(scale):
        def of(scale):
            sure = lambda x: scale * jnp.dot(x, MATRIX)  # noqa: E731
            return output_gradient_penalty(
                sure, INPUTS, jax.random.key(0), deviation=0.1
            )

        return jax.value_and_grad(of)(scale)

    for scale in (1.0, 1e3):
        assert np.isfinite(slope(np.float32(scale))).all()
    for options, match in (
        (dict(deviation=-1.0), "deviation must not be negative, got -1.0"),
        (dict(deviation=1.0, draws=0), "draws must be at least 1, got 0"),
        (dict(deviation=1.0, kind="else"), "kind must be one of .* got 'else'"),
    ):
        with pytest.raises(ValueError, match=match):
            output_gradient_penalty(score, INPUTS, KEY, **options)
    with pytest.raises(ValueError, match="inputs must be floating, got int32"):
        output_gradient_penalty(score, np.zeros((2, 4), np.int32), KEY, deviation=1.0)
