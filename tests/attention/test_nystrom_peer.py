"""Nystrom attention beside nystrom-attention and transformers' Nystromformer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.nystrom import iterative_pinv, nystrom_attention

pytestmark = pytest.mark.peer
HEADS, SIZE, LENGTH, LANDMARKS = 2, 8, 32, 8
WIDTH = HEADS * SIZE


def split(array):
    return array.reshape(*array.shape[:2], HEADS, SIZE)


def one_matrix(keys):
    """In a batch of one, the norm of the whole batch is that of the matrix."""
    return jax.nn.softmax(2 * jax.random.normal(next(keys), (1, 8, 8)))


def test_the_inverse_is_that_of_both_peers_for_a_single_matrix(keys):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("nystrom_attention.nystrom_attention")
    a = one_matrix(keys)
    want = peer.moore_penrose_iter_pinv(torch.from_numpy(np.array(a)), 6).numpy()
    np.testing.assert_allclose(iterative_pinv(a), want, rtol=1e-4, atol=1e-4)


def test_attention_is_that_of_nystrom_attention_with_its_weights(keys):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("nystrom_attention")
    module = peer.NystromAttention(
        dim=WIDTH,
        dim_head=SIZE,
        heads=1,
        num_landmarks=LANDMARKS,
        pinv_iterations=6,
        residual=True,
        residual_conv_kernel=5,
    ).eval()
    x = np.array(jax.random.normal(next(keys), (1, LENGTH, WIDTH)))
    with torch.no_grad():
        want = module(torch.from_numpy(x)).numpy()
    inner = x @ module.to_qkv.weight.detach().numpy().T
    q, k, v = (jnp.asarray(part)[:, :, None] for part in np.split(inner, 3, axis=-1))
    kernel = jnp.asarray(module.res_conv.weight.detach().numpy()[:, 0, :, 0])
    got = nystrom_attention(q, k, v, landmarks=LANDMARKS, convolution=kernel)
    out = module.to_out[0]
    got = (
        np.asarray(got[:, :, 0]) @ out.weight.detach().numpy().T
        + out.bias.detach().numpy()
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_attention_is_that_of_the_nystromformer_with_its_weights(keys):
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip(
        "transformers.models.nystromformer.modeling_nystromformer"
    )
    config = peer.NystromformerConfig(
        hidden_size=SIZE,
        num_attention_heads=1,
        num_landmarks=LANDMARKS,
        segment_means_seq_len=LENGTH,
        conv_kernel_size=5,
        attention_probs_dropout_prob=0.0,
    )
    module = peer.NystromformerSelfAttention(config).eval()
    x = np.array(jax.random.normal(next(keys), (1, LENGTH, SIZE)))
    with torch.no_grad():
        want = module(torch.from_numpy(x))[0].numpy()
    parts = (module.query, module.key, module.value)
    q, k, v = (
        jnp.asarray(x @ part.weight.detach().numpy().T + part.bias.detach().numpy())
        for part in parts
    )
    kernel = jnp.asarray(module.conv.weight.detach().numpy()[:, 0, :, 0])
    got = nystrom_attention(
        *(y[:, :, None] for y in (q, k, v)), landmarks=LANDMARKS, convolution=kernel
    )
    np.testing.assert_allclose(got[:, :, 0], want, rtol=1e-4, atol=1e-4)
