"""ALiBi's slopes beside those of transformers' BLOOM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.alibi import alibi_bias, alibi_slopes

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12, 20])
def test_causal_weights_are_those_of_bloom(heads):
    torch = pytest.importorskip("torch")
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    want = bloom.build_alibi_tensor(
        torch.ones(1, 7, dtype=torch.long), heads, torch.float32
    )
    # BLOOM adds m j, ALiBi -m (i - j): a constant for each query, so equal weights.
    want = jnp.broadcast_to(jnp.asarray(want.numpy()), (heads, 7, 7))
    got = alibi_bias(alibi_slopes(heads), jnp.arange(7), jnp.arange(7))[0]
    causal = jnp.tril(jnp.ones((7, 7), bool))
    weights = [
        jax.nn.softmax(jnp.where(causal[None], bias, -jnp.inf)) for bias in (got, want)
    ]
    np.testing.assert_allclose(*weights, rtol=1e-5)
