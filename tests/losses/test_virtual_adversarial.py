import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from kexue_jax.losses.virtual_adversarial import (
    divergence_of_scores,
    virtual_adversarial_loss,
)

KEY = np.array([0, 3], np.uint32)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_divergence_is_that_of_scipy_and_is_finite_at_certainty():
    first, second = normal(2, 6, 4).astype(np.float64)
    p, q = scipy.special.softmax(first, -1), scipy.special.softmax(second, -1)
    found = divergence_of_scores(first, second)
    np.testing.assert_allclose(found, scipy.special.rel_entr(p, q).sum(-1), rtol=1e-4)
    sure = jnp.array([0.0, -jnp.inf])
    np.testing.assert_allclose(divergence_of_scores(sure, jnp.zeros(2)), np.log(2))


def test_the_power_method_finds_the_direction_of_the_largest_curvature():
    """Of a linear softmax the curvature is W' (diag p - p p') W."""
    matrix, x = normal(4, 7), normal(1, 7, seed=1)
    logits = lambda x: x @ matrix.T  # noqa: E731
    p = scipy.special.softmax((x @ matrix.T)[0].astype(np.float64))
    curve = matrix.T @ (np.diag(p) - np.outer(p, p)) @ matrix
    values, _ = np.linalg.eigh(curve)

    @jax.jit
    def found(raw):
        key = jax.random.wrap_key_data(raw)
        small = dict(radius=1e-1, probe=1e-1)
        far = virtual_adversarial_loss(logits, x, key, iterations=20, **small)
        return far, virtual_adversarial_loss(logits, x, key, iterations=0, **small)

    far, noise = found(KEY)
    np.testing.assert_allclose(far, 0.5 * values[-1] * 1e-2, rtol=0.05)
    assert noise < 0.8 * far


def test_it_is_of_second_order_and_nothing_goes_through_the_target():
    matrix, x = normal(4, 7), normal(3, 7, seed=1)

    @jax.jit
    def found(raw):
        key = jax.random.wrap_key_data(raw)

        def at(matrix, radius):
            score = lambda x: x @ matrix.T  # noqa: E731
            return virtual_adversarial_loss(score, x, key, radius=radius, per="whole")

        slope = jax.grad(at)(matrix, 0.0)
        return [at(matrix, r) for r in (0.0, 0.05, 0.1)], slope

    (none, near, far), slope = found(KEY)
    np.testing.assert_allclose(none, 0.0, atol=1e-7)
    assert 3.6 < far / near < 4.4
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)


def test_where_nothing_matters_the_noise_stays_and_what_does_not_fit_is_refused():
    flat = lambda x: jnp.zeros((3, 4)) + 0.0 * x[:, :1]  # noqa: E731
    key = jax.random.wrap_key_data(KEY)
    value = virtual_adversarial_loss(flat, normal(3, 7), key, radius=1.0)
    assert value == 0.0
    for name, wrong in (
        ("radius", -1.0),
        ("iterations", -1),
        ("probe", 0.0),
        ("per", "token"),
    ):
        with pytest.raises(ValueError, match=f"{name} must .* got .*{wrong}"):
            virtual_adversarial_loss(
                flat, normal(3, 7), key, **({"radius": 1.0} | {name: wrong})
            )
    with pytest.raises(ValueError, match="inputs must be floating, got int"):
        virtual_adversarial_loss(flat, np.ones((3, 7), np.int32), key, radius=1.0)
