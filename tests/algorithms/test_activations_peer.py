"""GELU's two forms beside those of torch."""

import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.activations import gelu, gelu_tanh

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("ours", "approximate"), [(gelu, "none"), (gelu_tanh, "tanh")])
def test_each_form_is_that_of_torch(ours, approximate):
    torch = pytest.importorskip("torch")
    x = np.linspace(-8.0, 8.0, 1001, dtype=np.float32)
    want = torch.nn.functional.gelu(torch.tensor(x), approximate=approximate)
    np.testing.assert_allclose(ours(jnp.asarray(x)), want.numpy(), 1e-6, 1e-6)
