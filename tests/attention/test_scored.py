import jax
import numpy as np
import pytest

from kexue_jax.attention import scored
from kexue_jax.attention.protocol import check_own_heads
from kexue_jax.attention.softmax import softmax_attention

scored_attention, scored_weights = (
    jax.jit(f, static_argnames="is_causal")
    for f in (scored.scored_attention, scored.scored_weights)
)


def test_with_scaled_products_it_is_softmax_attention():
    draws = np.random.default_rng(0)
    q, k, v = (draws.normal(size=(2, n, 2, 4)) for n in (3, 5, 5))
    mask = draws.random((2, 1, 3, 5)) < 0.5
    got = scored_attention(np.einsum("btnh,bsnh->bnts", q, k) / 2.0, v, mask)
    want = jax.jit(softmax_attention)(q, k, v, mask)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_causality_and_mask_must_both_keep_a_key():
    mask = np.array([True, False, True, True])[None, None, None]
    got = scored_weights(np.zeros((1, 1, 3, 4)), mask, is_causal=True)
    want = [[1, 0, 0, 0], [1 / 2, 0, 1 / 2, 0], [1 / 3, 0, 1 / 3, 1 / 3]]
    np.testing.assert_allclose(np.asarray(got)[0, 0], want, rtol=1e-6)


def test_masks_and_shapes_that_do_not_fit_are_refused():
    scores = np.zeros((1, 1, 3, 4))
    for mask in (np.ones((3, 4), bool), np.ones((1, 1, 2, 4), bool), scores):
        with pytest.raises(ValueError, match="mask must"):
            scored_weights(scores, mask, is_causal=True)
    with pytest.raises(ValueError, match="scores and value"):
        scored_attention(scores, np.zeros((1, 3, 1, 2)))
    with pytest.raises(ValueError, match="query, key, value"):
        check_own_heads(np.zeros((1, 2, 1, 4)), np.zeros((1, 2, 1, 3)), scores)
