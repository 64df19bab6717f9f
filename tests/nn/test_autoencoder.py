import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.metrics.gaussian import kl_to_standard_normal
from kexue_jax.nn.autoencoder import BatchNormHead, VariationalAutoencoder
from kexue_jax.nn.functional import functional


def model(**more):
    make = functools.partial(
        VariationalAutoencoder, features=12, hidden=(8, 6), latent=3, **more
    )
    init, apply = functional(make)
    return jax.jit(init), jax.jit(apply, static_argnames=("train", "method"))


@pytest.mark.parametrize("tau", [0.1, 0.5, 0.9])
def test_batch_normalisation_keeps_the_divergence_above_its_bound(tau, keys):
    init, apply = functional(functools.partial(BatchNormHead, latent=5, tau=tau))
    params, extras = jax.jit(init)(next(keys))
    apply = jax.jit(functools.partial(apply, train=True))
    draws = np.random.default_rng(0)
    for scale in (1e-2, 1.0, 100.0):
        theta = draws.normal(size=5).astype(np.float32)
        raw = scale * draws.normal(size=(2, 64, 5)).astype(np.float32)
        (mean, std), _ = jax.device_get(apply(params | {"theta": theta}, extras, *raw))
        squares = np.mean(np.square(mean), 0), np.mean(np.square(std), 0)
        if scale > 0.1:  # below, the epsilon of the normalisation is felt
            np.testing.assert_allclose(squares[0] + squares[1], 1.0, atol=2e-3)
            divergence = np.asarray(jax.jit(kl_to_standard_normal)(mean, std))
            assert np.mean(np.sum(divergence, -1)) > 5 * tau / 2


def test_tau_at_its_ends_is_refused():
    for tau in (0, 1):
        with pytest.raises(ValueError, match=f"tau must be in .* got {tau}"):
            BatchNormHead(latent=2, tau=tau, rngs=nnx.Rngs(0))


def test_without_a_key_the_mean_is_decoded_and_with_one_a_draw(keys):
    init, apply = model()
    params, extras = init(next(keys))
    image = np.random.default_rng(0).random((4, 3, 4), np.float32)
    (plain, mean, scale), _ = jax.device_get(apply(params, extras, image))
    decoded, _ = apply(params, extras, mean, method="decode")
    np.testing.assert_allclose(plain, decoded, rtol=1e-6)
    (drawn, *_), _ = apply(params, extras, image, rng=next(keys))
    assert not np.allclose(plain, drawn)
    assert (scale > 0).all()
    assert plain.shape == (4, 12)
    assert ((plain > 0) & (plain < 1)).all()


def test_statistics_move_in_training_and_stay_in_evaluation(keys):
    init, apply = model(head=BatchNormHead)
    params, extras = init(next(keys))
    image = np.random.default_rng(0).random((16, 12), np.float32)
    _, after = apply(params, extras, image, train=True)
    _, still = apply(params, extras, image, train=False)
    same = lambda a, b: jax.tree.all(jax.tree.map(np.array_equal, a, b))  # noqa: E731
    assert same(extras, still)
    assert not same(extras, after)


def test_the_gradient_is_finite_for_an_input_without_variance(keys):
    init, apply = model(head=BatchNormHead)
    params, extras = init(next(keys))

    def loss(params):
        zeros, key = np.zeros((4, 12), np.float32), jax.random.key(0)
        (decoded, mean, scale), _ = apply(params, extras, zeros, train=True, rng=key)
        return jnp.sum(decoded) + jnp.sum(kl_to_standard_normal(mean, scale))

    grads = jax.jit(jax.grad(loss))(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
