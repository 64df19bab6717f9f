"""FAVOR+ beside performer-pytorch, with its own projection."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.linear import linear_attention
from kexue_jax.attention.performer import performer_attention, positive_features

pytestmark = pytest.mark.peer


def inputs(keys, length=32, heads=2, size=8):
    # Small entries, beside which the constant that the peer adds hardly counts.
    shape = (2, length, heads, size)
    return [0.5 * jax.random.normal(next(keys), shape) for _ in range(3)]


@pytest.fixture
def peer():
    torch = pytest.importorskip("torch")
    return torch, pytest.importorskip("performer_pytorch.performer_pytorch")


def theirs(torch, array):
    """``[B, T, N, H]`` as their ``[B, N, T, H]``."""
    return torch.from_numpy(np.asarray(array).transpose(0, 2, 1, 3).copy())


def test_features_are_those_of_the_peer_up_to_a_factor_of_the_row(peer, keys):
    torch, performer = peer
    query = inputs(keys)[0]
    rows = performer.gaussian_orthogonal_random_matrix(24, 8)
    want = performer.softmax_kernel(
        theirs(torch, query), projection_matrix=rows, is_query=True, eps=0.0
    )
    got = positive_features(query / 8**0.25, jnp.asarray(rows.numpy())).values
    got, want = got / got.max(-1, keepdims=True), want.numpy().transpose(0, 2, 1, 3)
    np.testing.assert_allclose(
        got, want / want.max(-1, keepdims=True), rtol=1e-4, atol=1e-6
    )


def test_attention_is_that_of_the_peer_without_its_constant(peer, keys):
    torch, performer = peer
    query, key, value = inputs(keys)
    rows = performer.gaussian_orthogonal_random_matrix(24, 8)
    q, k = (
        performer.softmax_kernel(
            theirs(torch, x), projection_matrix=rows, is_query=is_query, eps=0.0
        )
        for x, is_query in ((query, True), (key, False))
    )
    want = performer.linear_attention(q, k, theirs(torch, value)).numpy()
    got = performer_attention(query, key, value, projection=jnp.asarray(rows.numpy()))
    np.testing.assert_allclose(got, want.transpose(0, 2, 1, 3), rtol=1e-4, atol=1e-5)


def test_the_whole_module_of_the_peer_is_as_near_as_its_constant_allows(peer, keys):
    torch, performer = peer
    query, key, value = inputs(keys)
    module = performer.FastAttention(8, nb_features=24)
    with torch.no_grad():
        want = module(*(theirs(torch, x) for x in (query, key, value))).numpy()
    rows = jnp.asarray(module.projection_matrix.numpy())
    got = performer_attention(query, key, value, projection=rows)
    np.testing.assert_allclose(got, want.transpose(0, 2, 1, 3), atol=5e-3)


def test_causal_attention_is_that_of_the_peer_on_features_of_any_kind(peer, keys):
    torch, performer = peer
    query, key, value = inputs(keys)
    got = linear_attention(query, key, value, is_causal=True, chunk_size=5)
    q, k = (torch.nn.functional.elu(theirs(torch, x)) + 1 for x in (query, key))
    want = performer.causal_linear_attention_noncuda(
        q, k, theirs(torch, value), chunk_size=8, eps=0.0
    )
    np.testing.assert_allclose(
        got, want.numpy().transpose(0, 2, 1, 3), rtol=1e-4, atol=1e-5
    )
