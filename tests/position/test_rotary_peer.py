"""Rotary positions beside those of transformers' RoFormer and LLaMA, and its YaRN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position.frequencies import (
    interpolated_frequencies,
    ntk_frequencies,
    yarn_attention_factor,
    yarn_frequencies_by_index,
)
from kexue_jax.position.rotary import rotary, rotary_halves

pytestmark = pytest.mark.peer


def test_neighbours_are_those_of_roformer(keys):
    torch = pytest.importorskip("torch")
    roformer = pytest.importorskip("transformers.models.roformer.modeling_roformer")
    features = jax.random.normal(next(keys), (2, 9, 3, 8))
    table = roformer.RoFormerSinusoidalPositionalEmbedding(9, 8)
    table.weight.data = torch.tensor(
        np.concatenate([f(turns()) for f in (np.sin, np.cos)], -1), dtype=torch.float32
    )
    theirs = torch.tensor(np.asarray(features)).permute(0, 2, 1, 3)
    rotate = roformer.RoFormerSelfAttention.apply_rotary_position_embeddings
    want, _ = rotate(table(torch.Size([2, 9]))[None, None], theirs, theirs)
    got = rotary(features, np.arange(9))
    np.testing.assert_allclose(got, want.permute(0, 2, 1, 3).numpy(), 1e-5, 1e-5)


def test_attention_is_that_of_roformer_with_its_weights(keys):
    torch = pytest.importorskip("torch")
    roformer = pytest.importorskip("transformers.models.roformer.modeling_roformer")
    settings = roformer.RoFormerConfig(
        hidden_size=16, num_attention_heads=2, attention_probs_dropout_prob=0.0
    )
    module = roformer.RoFormerSelfAttention(settings).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.tensor(np.asarray(jax.random.normal(next(keys), p.shape))))
    table = np.concatenate([f(turns()) for f in (np.sin, np.cos)], -1)
    inputs = jax.random.normal(next(keys), (2, 9, 16))
    with torch.no_grad():
        want = module(
            torch.tensor(np.asarray(inputs)),
            sinusoidal_pos=torch.tensor(table, dtype=torch.float32)[None, None],
        )[0].numpy()
    w = {name: jnp.asarray(p.detach().numpy()) for name, p in module.named_parameters()}
    query, key, value = (
        (inputs @ w[f"{name}.weight"].T + w[f"{name}.bias"][None, None]).reshape(
            2, 9, 2, 8
        )
        for name in ("query", "key", "value")
    )
    query, key = (rotary(x, np.arange(9)) for x in (query, key))
    got = softmax_attention(query, key, value).reshape(2, 9, 16)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def turns():
    return np.arange(9)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)


def config(**scaling):
    transformers = pytest.importorskip("transformers")
    return transformers.LlamaConfig(
        hidden_size=256,
        num_attention_heads=2,
        max_position_embeddings=4096,
        rope_parameters=dict(rope_theta=10000.0, **scaling),
    )


def test_halves_are_those_of_llama(keys):
    torch = pytest.importorskip("torch")
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    features = jax.random.normal(next(keys), (2, 9, 3, 128))
    theirs = torch.tensor(np.asarray(features))
    embed = llama.LlamaRotaryEmbedding(config(rope_type="default"))
    cosine, sine = embed(theirs, torch.arange(9)[None])
    want, _ = llama.apply_rotary_pos_emb(theirs, theirs, cosine, sine, unsqueeze_dim=2)
    got = rotary_halves(features, np.arange(9))
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


def test_extensions_are_those_of_transformers():
    ropes = pytest.importorskip("transformers.modeling_rope_utils")
    yarn = config(rope_type="yarn", factor=8.0, original_max_position_embeddings=4096)
    want, factor = ropes.ROPE_INIT_FUNCTIONS["yarn"](yarn, "cpu")
    got = yarn_frequencies_by_index(128, factor=8.0, length=4096)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
    np.testing.assert_allclose(yarn_attention_factor(8.0), factor)
    linear = config(rope_type="linear", factor=8.0)
    want, _ = ropes.ROPE_INIT_FUNCTIONS["linear"](linear, "cpu")
    got = interpolated_frequencies(128, factor=8.0)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
    dynamic = config(rope_type="dynamic", factor=1.0)
    want, _ = ropes.ROPE_INIT_FUNCTIONS["dynamic"](dynamic, "cpu", seq_len=8 * 4096)
    got = ntk_frequencies(128, factor=8.0)
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5)
