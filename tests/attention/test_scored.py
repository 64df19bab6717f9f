import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.scored import scored_attention, scored_weights
from kexue_jax.attention.softmax import softmax_attention


def test_with_scaled_products_it_is_softmax_attention(keys):
    q, k, v = (jax.random.normal(next(keys), (2, n, 2, 4)) for n in (3, 5, 5))
    mask = jax.random.bernoulli(next(keys), 0.5, (2, 1, 3, 5))
    got = scored_attention(jnp.einsum("btnh,bsnh->bnts", q, k) / 2.0, v, mask)
    want = softmax_attention(q, k, v, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_causality_and_mask_must_both_keep_a_key():
    mask = jnp.array([True, False, True, True])[None, None, None]
    got = scored_weights(jnp.zeros((1, 1, 3, 4)), mask, is_causal=True)
    want = [[1, 0, 0, 0], [1 / 2, 0, 1 / 2, 0], [1 / 3, 0, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(got[0, 0], want, rtol=1e-6)


def test_masks_and_shapes_that_do_not_fit_are_refused():
    scores = jnp.zeros((1, 1, 3, 4))
    for mask in (jnp.ones((3, 4), bool), jnp.ones((1, 1, 2, 4), bool), scores):
        with pytest.raises(ValueError, match="mask must"):
            scored_weights(scores, mask, is_causal=True)
    with pytest.raises(ValueError, match="scores and value"):
        scored_attention(scores, jnp.zeros((1, 3, 1, 2)))
    with pytest.raises(ValueError, match="query, key, value"):
        check_own_heads(jnp.zeros((1, 2, 1, 4)), jnp.zeros((1, 2, 1, 3)), scores)
