import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.global_pointer import (
    efficient_span_scores,
    kept_spans,
    span_scores,
)
from kexue_jax.position.rotary import rotary

SCORES, EFFICIENT = jax.jit(span_scores), jax.jit(efficient_span_scores)


def arrays(*shapes):
    draws = np.random.default_rng(0)
    return [draws.normal(size=shape) for shape in shapes]


def test_scores_are_scaled_inner_products_of_each_type():
    query, key = arrays((2, 3, 4, 6), (2, 5, 4, 6))
    with jax.enable_x64(True):
        found = np.asarray(SCORES(query, key))
    for b, c, i, j in np.ndindex(2, 4, 3, 5):
        want = query[b, i, c] @ key[b, j, c] / np.sqrt(6)
        np.testing.assert_allclose(found[b, c, i, j], want, rtol=1e-12)


def test_efficient_scores_are_inner_products_with_a_constant_folded_in():
    query, key, start, end = arrays((2, 3, 6), (2, 5, 6), (2, 3, 4), (2, 5, 4))
    with jax.enable_x64(True):
        found = EFFICIENT(query, key, start, end, scale=0.3)
        # A GlobalPointer whose types have the features (q, a, 1) and (k, 1, b).
        wide = [
            np.broadcast_to(x[:, :, None], (2, len(x[0]), 4, 6)) for x in (query, key)
        ]
        one = [np.ones((*x.shape, 1)) for x in (start, end)]
        left = np.concatenate([0.3 * wide[0], start[..., None], one[0]], axis=-1)
        right = np.concatenate([wide[1], one[1], end[..., None]], axis=-1)
        want = SCORES(left, right, scale=1.0)
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_with_rotary_positions_a_span_is_its_content_and_its_length():
    query, key = (x.astype(np.float32) for x in arrays((1, 6, 2, 8), (1, 6, 2, 8)))
    places = np.arange(6)

    @jax.jit
    def scores(query, key, shift):
        turned = (rotary(x, jnp.arange(6) + shift) for x in (query, key))
        return span_scores(*turned)

    here, there = scores(query, key, 0), scores(query, key, 37)
    np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-5)
    same = [np.broadcast_to(x[:, :1], x.shape) for x in (query, key)]
    alike = np.asarray(scores(*same, 0))[0, 0]
    for length in range(6):
        diagonal = alike[places[: 6 - length], places[length:]]
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-5, atol=1e-5)
    assert len(np.unique(alike[0].round(3))) == 6


def test_narrow_features_have_scores_in_float32():
    query, key = (
        jnp.asarray(x, jnp.bfloat16) for x in arrays((1, 2, 1, 4), (1, 2, 1, 4))
    )
    found = SCORES(query, key)
    assert found.dtype == jnp.float32
    want = np.asarray(query, float)[0, :, 0] @ np.asarray(key, float)[0, :, 0].T / 2.0
    np.testing.assert_allclose(found[0, 0], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("upper", [True, False])
def test_kept_spans_have_real_inner_tokens_and_an_order(upper):
    kept = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [0] * 6], bool)
    found = jax.jit(kept_spans, static_argnames=("upper", "inner"))(
        kept, upper=upper, inner=(1, 1)
    )
    inner = [range(1, 4), range(1, 2), range(0)]
    for row, i, j in np.ndindex(3, 6, 6):
        want = i in inner[row] and j in inner[row] and (i <= j or not upper)
        assert bool(found[row, 0, i, j]) == want
    every = kept_spans(jnp.asarray(kept), upper=upper)
    assert int(every.sum()) == (15 + 6 if upper else 25 + 9)


def test_what_does_not_fit_is_refused():
    query, key, terms = (
        np.zeros((1, 2, 3, 4)),
        np.zeros((1, 2, 5, 4)),
        np.zeros((1, 2, 3)),
    )
    with pytest.raises(ValueError, match=r"\[B, T, C, H\] and \[B, S, C, H\]"):
        span_scores(query, key)
    with pytest.raises(ValueError, match=r"query, key, start_terms, end_terms"):
        efficient_span_scores(terms, terms, terms, terms[:, :1])
    with pytest.raises(ValueError, match=r"kept must be bool \[B, T\], got float"):
        kept_spans(terms[0])
    with pytest.raises(ValueError, match="inner must be two numbers"):
        kept_spans(np.ones((1, 2), bool), inner=(-1, 0))
