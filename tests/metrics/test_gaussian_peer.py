"""Distances of normal distributions beside torch and POT."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.gaussian import gaussian_kl
from kexue_jax.metrics.gaussian_transport import wasserstein2_squared

pytestmark = pytest.mark.peer


def pair(size, batch, seed=0):
    draws, found = np.random.default_rng(seed), []
    for _ in range(2):
        root = draws.normal(size=(batch, size, size))
        cov = root @ root.transpose(0, 2, 1) / size + 0.1 * np.eye(size)
        found += [draws.normal(size=(batch, size)), cov]
    return found


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_divergence_and_its_gradients_are_those_of_torch(size):
    torch = pytest.importorskip("torch")
    arrays = pair(size, 5)
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    p, q = (
        torch.distributions.MultivariateNormal(mean, cov)
        for mean, cov in (leaves[:2], leaves[2:])
    )
    want = torch.distributions.kl_divergence(p, q)
    want.sum().backward()
    with jax.enable_x64(True):
        made = [jnp.asarray(x) for x in arrays]
        found, slopes = jax.value_and_grad(
            lambda *a: gaussian_kl(*a).sum(), (0, 1, 2, 3)
        )(*made)
        np.testing.assert_allclose(found, want.sum().item(), rtol=1e-12)
        for slope, leaf in zip(slopes, leaves, strict=True):
            theirs = leaf.grad.numpy()
            if theirs.ndim == 3:  # torch writes the whole slope below the diagonal
                theirs = 0.5 * (theirs + theirs.transpose(0, 2, 1))
            np.testing.assert_allclose(slope, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_the_distance_is_that_of_pot(size):
    ot = pytest.importorskip("ot")
    arrays = pair(size, 5)
    want = [
        ot.gaussian.bures_wasserstein_distance(mean_p, mean_q, cov_p, cov_q) ** 2
        for mean_p, cov_p, mean_q, cov_q in zip(*arrays, strict=True)
    ]
    with jax.enable_x64(True):
        found = wasserstein2_squared(*(jnp.asarray(x) for x in arrays))
        np.testing.assert_allclose(found, want, rtol=1e-9)
