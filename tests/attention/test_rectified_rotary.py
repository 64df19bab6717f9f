import functools

import jax
import numpy as np
import pytest

from kexue_jax.attention.rectified_rotary import (
    leaky_rectified_rotary_attention,
    rectified_rotary_attention,
)
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position.rotary import rotary, rotary_halves

STATIC = ("is_causal", "window", "factor", "rotate")
rectified = jax.jit(rectified_rotary_attention, static_argnames=STATIC[:2] + STATIC[3:])
leaky = jax.jit(leaky_rectified_rotary_attention, static_argnames=STATIC)


def inputs(t=9, s=9):
    draws = np.random.default_rng(0)
    return [draws.normal(size=(2, n, 2, 8)).astype(np.float32) for n in (t, s, s)]


def turned(vector, place, base):
    pairs = vector[0::2] + 1j * vector[1::2]
    return pairs * np.exp(1j * place * base ** (-np.arange(0, 8, 2) / 8))


def slow(query, key, value, distance, is_causal, base=10.0):
    """Every pair rotated by its own distance, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    out, offset = np.zeros(query.shape), key.shape[1] - query.shape[1]
    for b, t, n in np.ndindex(query.shape[:3]):
        last = t + offset + 1 if is_causal else key.shape[1]
        scores = [
            np.sum(
                turned(query[b, t, n], distance(t + offset - s), base)
                * np.conj(turned(key[b, s, n], 0, base))
            ).real
            for s in range(last)
        ]
        weights = np.exp(np.array(scores) / np.sqrt(8))
        out[b, t, n] = weights / weights.sum() @ value[b, :last, n]
    return out


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize(("t", "s"), [(6, 6), (2, 6)])
def test_every_pair_is_rotated_by_its_rectified_distance(is_causal, t, s):
    rotate = functools.partial(rotary, base=10.0)
    q, k, v = inputs(t, s)
    got = rectified(q, k, v, is_causal=is_causal, window=3, rotate=rotate)
    want = slow(q, k, v, lambda d: min(d, 3), is_causal)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    got = leaky(q, k, v, is_causal=is_causal, window=3, factor=4.0, rotate=rotate)
    want = slow(q, k, v, lambda d: d if d < 3 else 3 + (d - 3) / 4, is_causal)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rotate", [rotary, rotary_halves])
def test_a_window_as_long_as_the_input_changes_nothing(rotate):
    q, k, v = inputs()
    got = rectified(q, k, v, window=9, rotate=rotate)

    @jax.jit
    def plain(q, k, v, places):
        return softmax_attention(rotate(q, places), rotate(k, places), v)

    want = plain(q, k, v, np.arange(9))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    shorter = rectified(q, k, v, window=2, rotate=rotate)
    assert np.abs(np.asarray(shorter) - np.asarray(want)).max() > 1e-3


def test_leaky_lies_between_rotary_and_rectified():
    q, k, v = inputs()
    slow_one = functools.partial(leaky, q, k, v, is_causal=True, window=3)
    want = rectified(q, k, v, is_causal=True, window=9, rotate=rotary)
    got = slow_one(factor=1.0, rotate=rotary)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    want = rectified(q, k, v, is_causal=True, window=3, rotate=rotary)
    got = slow_one(factor=1e9, rotate=rotary)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "attend",
    [
        functools.partial(rectified, window=3, rotate=rotary),
        functools.partial(leaky, window=3, factor=2.0, rotate=rotary),
    ],
)
def test_decoding_token_by_token_equals_the_full_matrix(attend):
    q, k, v = inputs()
    want = np.asarray(attend(q, k, v, is_causal=True))
    for t in (0, 3, 8):
        new = slice(t, t + 1)
        got = attend(q[:, new], k[:, : t + 1], v[:, : t + 1], is_causal=True)
        np.testing.assert_allclose(got, want[:, new], rtol=1e-4, atol=1e-5)


def test_numbers_out_of_range_are_refused():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="window must be at least 1, got 0"):
        rectified_rotary_attention(q, k, v, window=0, rotate=rotary)
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        leaky_rectified_rotary_attention(q, k, v, window=3, factor=0.5, rotate=rotary)
