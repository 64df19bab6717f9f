"""T5's positions beside those of transformers, which has key minus query."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position.t5 import t5_bias, t5_bias_causal, t5_bucket, t5_bucket_causal

pytestmark = pytest.mark.peer


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (16, 64)])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_every_distance_has_the_bucket_of_transformers(
    buckets, distance, bidirectional
):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    relative = np.arange(-1000, 1001)
    want = t5.T5Attention._relative_position_bucket(
        torch.tensor(-relative),
        bidirectional=bidirectional,
        num_buckets=buckets,
        max_distance=distance,
    )
    bucket = t5_bucket if bidirectional else t5_bucket_causal
    got = bucket(jnp.asarray(relative), buckets=buckets, max_distance=distance)
    np.testing.assert_array_equal(got, want.numpy())


@pytest.mark.parametrize("is_decoder", [True, False])
def test_attention_with_the_bias_is_that_of_transformers_with_its_weights(
    is_decoder, keys
):
    torch = pytest.importorskip("torch")
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    config = t5.T5Config(
        d_model=8,
        d_kv=4,
        num_heads=2,
        is_decoder=is_decoder,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
    )
    module = t5.T5Attention(config, has_relative_attention_bias=True).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.tensor(np.asarray(jax.random.normal(next(keys), p.shape))))
    x = jax.random.normal(next(keys), (2, 21, 8))
    w = {name: jnp.asarray(p.detach().numpy()) for name, p in module.named_parameters()}
    query, key, value = (
        (x @ w[f"{name}.weight"].T).reshape(2, 21, 2, 4) for name in "qkv"
    )
    bias = (t5_bias_causal if is_decoder else t5_bias)(
        w["relative_attention_bias.weight"],
        np.arange(21),
        np.arange(21),
        max_distance=16,
    )
    got = softmax_attention(
        query, key, value, bias=bias, scale=1.0, is_causal=is_decoder
    )
    with torch.no_grad():
        hidden = np.where(np.tri(21, dtype=bool), 0.0, -1e9) if is_decoder else 0.0
        mask = torch.tensor(np.broadcast_to(hidden, (1, 1, 21, 21)).copy()).float()
        want = module(torch.tensor(np.asarray(x)), mask)[0].numpy()
    got = got.reshape(2, 21, 8) @ w["o.weight"].T
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
