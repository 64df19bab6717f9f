import itertools

import jax
import numpy as np
import pytest

from kexue_jax.attention import masks
from kexue_jax.attention.softmax import softmax_attention

# [CLS] 6 tokens of source with its [SEP], 4 of target with its own.
SEGMENTS = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])

attend = jax.jit(softmax_attention, static_argnames="is_causal")


def compiled(make, *static):
    """Masks that are made in one program and are arrays of NumPy."""
    mask = jax.jit(make, static_argnames=static)
    return lambda *args, **sizes: np.asarray(mask(*args, **sizes))


causal_mask = compiled(masks.causal_mask, "queries", "keys")
window_mask = compiled(masks.window_mask, "queries", "keys", "window")
local_mask = compiled(masks.local_mask, "queries", "keys", "radius")
atrous_mask = compiled(masks.atrous_mask, "queries", "keys", "rate")
sparse_mask = compiled(masks.sparse_mask, "queries", "keys", "rate")
prefix_mask = compiled(masks.prefix_mask, "length")
unilm_mask = compiled(masks.unilm_mask)
permutation_mask = compiled(masks.permutation_mask)
permutation_query_mask = compiled(masks.permutation_query_mask)
same_document_mask = compiled(masks.same_document_mask)
length_mask = compiled(masks.length_mask, "size")
padding_mask = compiled(masks.padding_mask)
block_sparse_mask = compiled(masks.block_sparse_mask, "length", "block", "window")


def plain(mask):
    return mask[0, 0]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def places(queries, keys):
    return np.arange(queries)[:, None] + keys - queries, np.arange(keys)[None]


def influence(mask, layers, length):
    """Which input places the output places of a stack depend on."""
    x = normal(length, 2)
    mix = 0.5 * normal(layers, 3, 2, 2, seed=1)  # far from one-hot

    def stack(x):
        for query, key, value in mix:
            heads = ((x @ w)[None, :, None] for w in (query, key, value))
            x = x + softmax_attention(*heads, mask)[0, :, 0]
        return x

    slope = np.asarray(jax.jit(jax.jacobian(stack))(x))  # [T, 2, T, 2]
    return np.abs(slope).max((1, 3)) > 0.0


def power(mask, layers):
    """Which places `layers` steps along the mask, or none, reach."""
    once = mask | np.eye(len(mask), dtype=bool)
    return np.linalg.matrix_power(once.astype(int), layers) > 0


def test_a_causal_mask_is_lower_triangular_and_aligned_at_the_end():
    np.testing.assert_array_equal(plain(causal_mask(4, 4)), np.tri(4, dtype=bool))
    wide = plain(causal_mask(2, 5))
    np.testing.assert_array_equal(wide, np.tri(5, dtype=bool)[3:])
    assert not causal_mask(3, 2)[0, 0, 0].any()


@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (3, 7), (7, 3), (1, 1)])
def test_masks_of_distances_are_their_formulas(queries, keys):
    t, s = places(queries, keys)
    size = (queries, keys)
    want = (t - s >= 0) & (t - s < 3)
    np.testing.assert_array_equal(plain(window_mask(*size, window=3)), want)
    want = np.abs(t - s) <= 2
    np.testing.assert_array_equal(plain(local_mask(*size, radius=2)), want)
    want = (t - s) % 3 == 0
    np.testing.assert_array_equal(plain(atrous_mask(*size, rate=3)), want)
    want = want | (np.abs(t - s) <= 3)
    np.testing.assert_array_equal(plain(sparse_mask(*size, rate=3)), want)


def test_the_visible_pairs_are_as_many_as_their_closed_forms_say():
    n, k, source, target = 12, 3, 6, 4
    assert causal_mask(n, n).sum() == n * (n + 1) // 2
    assert local_mask(n, n, radius=k).sum() == n * (2 * k + 1) - k * (k + 1)
    assert window_mask(n, n, window=k).sum() == n * k - k * (k - 1) // 2
    assert atrous_mask(n, n, rate=k).sum() == n * n // k
    want = source**2 + source * target + target * (target + 1) // 2
    assert unilm_mask(SEGMENTS).sum() == want
    order = np.array([2, 0, 3, 1])
    assert permutation_mask(order).sum() == 10
    assert permutation_query_mask(order).sum() == 6


def test_the_golden_example_of_unilm():
    mask = plain(unilm_mask(SEGMENTS))
    want = np.zeros((10, 10), bool)
    want[:6, :6] = True
    for row, columns in zip(range(6, 10), (7, 8, 9, 10), strict=True):
        want[row, :columns] = True
    np.testing.assert_array_equal(mask, want)


def test_unilm_is_bidirectional_in_sources_and_causal_in_targets():
    assert unilm_mask(np.zeros(5, int)).all()
    want = causal_mask(5, 5)
    np.testing.assert_array_equal(unilm_mask(np.ones(5, int)), want)


def test_a_prefix_is_the_source_of_unilm():
    got = prefix_mask(10, 6)
    np.testing.assert_array_equal(got, unilm_mask(SEGMENTS))
    both = prefix_mask(10, np.array([6, 0]))
    np.testing.assert_array_equal(both[0], got[0])
    np.testing.assert_array_equal(both[1], causal_mask(10, 10)[0])


def test_padding_with_segment_zero_is_visible_unless_it_is_hidden():
    segments = np.array([[0, 0, 1, 1, 0, 0]])
    assert unilm_mask(segments)[0, 0, 3, 4]
    kept = np.array([[True, True, True, True, False, False]])
    got = unilm_mask(segments, kept)
    assert not got[..., 4:].any()
    want = unilm_mask(segments[:, :4])
    np.testing.assert_array_equal(got[:, :, :4, :4], want)


def test_a_permutation_is_the_causal_mask_of_reordered_tokens():
    for order in itertools.permutations(range(5)):
        mask = plain(permutation_mask(np.array(order)))
        reordered = mask[np.ix_(order, order)]
        np.testing.assert_array_equal(reordered, np.tri(5, dtype=bool))
        strict = plain(permutation_query_mask(np.array(order)))
        np.testing.assert_array_equal(strict, mask & ~np.eye(5, dtype=bool))


def test_attention_under_a_permutation_is_causal_attention_of_reordered_input():
    order = np.array([3, 0, 4, 1, 2])
    q, k, v = normal(3, 1, 5, 2, 4)
    got = np.asarray(attend(q, k, v, permutation_mask(order)))[:, order]
    want = attend(*(x[:, order] for x in (q, k, v)), is_causal=True)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_reversed_order_looks_only_ahead():
    mask = plain(permutation_mask(np.arange(5)[::-1]))
    np.testing.assert_array_equal(mask, np.tri(5, dtype=bool).T)


def test_documents_see_themselves_alone_and_masks_compose():
    documents = np.array([[0, 0, 1, 1, 1]])
    mask = same_document_mask(documents) & causal_mask(5, 5)
    want = np.zeros((5, 5), bool)
    want[:2, :2], want[2:, 2:] = np.tri(2, dtype=bool), np.tri(3, dtype=bool)
    np.testing.assert_array_equal(plain(mask), want)
    cross = same_document_mask(documents[0, 3:], documents[0])
    np.testing.assert_array_equal(plain(cross), want[3:] | want.T[3:])


def test_unions_and_intersections_are_those_of_their_formulas():
    near, comb = local_mask(9, 9, radius=2), atrous_mask(9, 9, rate=2)
    np.testing.assert_array_equal(near | comb, sparse_mask(9, 9, rate=2))
    causal = causal_mask(9, 9)
    np.testing.assert_array_equal(near & causal, window_mask(9, 9, window=3))


def test_rows_of_padding_see_nothing():
    kept = length_mask(np.array([2, 3]), 3)[:, 0, 0]
    mask = padding_mask(kept, kept)
    assert mask.shape == (2, 1, 3, 3)
    assert not mask[0, 0, 2].any()
    assert not mask[0, 0, :, 2].any()
    assert mask[1].all()


@pytest.mark.slow
def test_a_block_sees_its_neighbours_the_global_and_some_drawn_blocks():
    mask = plain(block_sparse_mask(43, jax.random.key(0), block=4))
    assert mask.shape == (43, 43)
    blocks = mask[::4, ::4]
    np.testing.assert_array_equal(mask, np.kron(blocks, np.ones((4, 4)))[:43, :43] > 0)
    t, s = places(11, 11)
    fixed = (np.abs(t - s) <= 1) | (t < 2) | (s < 2)
    assert blocks[fixed].all()
    want = np.minimum(3, 11 - fixed.sum(1))
    np.testing.assert_array_equal((blocks & ~fixed).sum(1), want)


def test_blocks_are_drawn_from_the_key_alone():
    draw = [block_sparse_mask(640, jax.random.key(i), block=32) for i in (0, 0, 1)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != draw[2]).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: causal_mask(8, 8),
        lambda: prefix_mask(8, 3),
        lambda: unilm_mask(np.array([0, 0, 0, 1, 1, 1, 1, 1])),
        lambda: permutation_mask(np.array([5, 2, 7, 0, 1, 6, 3, 4])),
        lambda: same_document_mask(np.array([0, 0, 1, 1, 1, 2, 2, 2])),
    ],
)
def test_through_transitive_masks_two_layers_see_no_more_than_one(make):
    mask = plain(make())
    np.testing.assert_array_equal(power(mask, 2), mask)
    np.testing.assert_array_equal(influence(mask[None, None], 2, 8), mask)


def test_local_masks_reach_as_far_as_their_powers():
    mask = plain(local_mask(8, 8, radius=1))
    for layers in (1, 3):
        got = influence(mask[None, None], layers, 8)
        np.testing.assert_array_equal(got, power(mask, layers))
    assert not power(mask, 3).all()


def test_neighbours_and_a_comb_reach_everything_in_two_layers():
    near = plain(local_mask(64, 64, radius=8)).astype(int)
    comb = plain(atrous_mask(64, 64, rate=8)).astype(int)
    assert (near @ comb > 0).all()
    assert not (near @ near > 0).all()


def test_a_bias_of_minus_infinity_is_a_mask():
    q, k, v = normal(3, 1, 6, 2, 4)
    mask = window_mask(6, 6, window=2)
    want = attend(q, k, v, mask)
    got = attend(q, k, v, bias=np.where(mask, np.float32(0.0), -np.inf))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_token_by_token_is_the_whole_sequence_at_once():
    q, k, v = normal(3, 1, 5, 2, 4)
    whole = np.asarray(attend(q, k, v, window_mask(5, 5, window=3)))
    for t in range(5):
        mask = window_mask(1, t + 1, window=3)
        step = np.asarray(attend(q[:, t : t + 1], k[:, : t + 1], v[:, : t + 1], mask))
        np.testing.assert_allclose(step[:, 0], whole[:, t], rtol=1e-5, atol=1e-6)


def test_masks_are_made_under_jit():
    got = jax.jit(lambda s: masks.unilm_mask(s) & masks.causal_mask(10, 10))(SEGMENTS)
    np.testing.assert_array_equal(got, causal_mask(10, 10))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: window_mask(3, 3, window=0), "window must be at least 1, got 0"),
        (lambda: local_mask(3, 3, radius=-1), "radius must not be negative"),
        (lambda: atrous_mask(3, 3, rate=0), "rate must be at least 1, got 0"),
        (
            lambda: unilm_mask(np.zeros((1, 1, 2), int)),
            r"segments .* \(1, 1, 2\)",
        ),
        (
            lambda: unilm_mask(SEGMENTS, np.ones(3, bool)),
            r"kept must be bool like segments \(10,\)",
        ),
        (lambda: permutation_mask(np.array(3)), r"order must be"),
        (lambda: length_mask(np.array(3), 4), r"lengths must be \[B\]"),
        (lambda: prefix_mask(4, np.ones((2, 2), int)), "prefix must be"),
        (
            lambda: block_sparse_mask(8, jax.random.key(0), window=2),
            "window must be odd",
        ),
    ],
)
def test_what_makes_no_mask_is_refused_by_name(make, words):
    with pytest.raises(ValueError, match=words):
        make()
