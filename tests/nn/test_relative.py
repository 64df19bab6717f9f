import jax
import numpy as np
import pytest
from flax import nnx

from kexue_jax.nn.relative import NezhaAttention


def test_nezha_adds_sinusoids_of_key_minus_query_and_the_clip_to_keys_and_values():
    draws = np.random.default_rng(0)
    query, key, value = draws.normal(size=(3, 1, 7, 2, 4)).astype(np.float32)
    layer = NezhaAttention(heads=2, head_size=4, clip=3, rngs=nnx.Rngs(0))
    got = jax.jit(layer)(query, key, value)
    places = np.arange(7)
    numbers = np.clip(places[None] - places[:, None], -3, 3) + 3  # 0 to 6, as published
    turn = numbers[..., None] / [1.0, 100.0]
    rows = np.stack([np.sin(turn), np.cos(turn)], -1).reshape(7, 7, 4)
    q, k, v = map(np.float64, (query, key, value))
    near = rows[None, :, :, None]
    scores = np.einsum("btnh,btsnh->bnts", q, k[:, None] + near) / 2
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    want = np.einsum("bnts,btsnh->btnh", weights, v[:, None] + near)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_nezha_needs_heads_of_even_size():
    with pytest.raises(ValueError, match="size"):
        NezhaAttention(heads=2, head_size=3, rngs=nnx.Rngs(0))
