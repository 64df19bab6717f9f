"""Gaussian distances beside those of ott-jax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.metrics.gaussian import wasserstein2_squared

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("size", [2, 8, 32])
def test_the_closed_form_is_that_of_ott_within_its_own_error(size, keys):
    costs = pytest.importorskip("ott.geometry.costs")
    bures = costs.Bures(size)
    for _ in range(5):
        means = jax.random.normal(next(keys), (2, size))
        roots = jax.random.normal(next(keys), (2, size, size))
        covs = (
            jnp.einsum("nij,nkj->nik", roots, roots) / size + 0.1 * jnp.eye(size)[None]
        )
        packed = [
            costs.mean_and_cov_to_x(means[i], covs[i], dimension=size) for i in range(2)
        ]
        with jax.numpy_rank_promotion("allow"):
            want = bures(*packed)
        got = wasserstein2_squared(means[0], covs[0], means[1], covs[1])
        np.testing.assert_allclose(got, want, rtol=2e-3)
