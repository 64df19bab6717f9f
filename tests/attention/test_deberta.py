import jax
import numpy as np
import pytest

from kexue_jax.attention import deberta
from kexue_jax.attention.deberta import deberta_log_buckets
from kexue_jax.attention.softmax import softmax_attention

deberta_attention, as_released = (
    jax.jit(f, static_argnames=("is_causal", "bucket"))
    for f in (deberta.deberta_attention, deberta.deberta_attention_as_released)
)
BOTH = [deberta_attention, as_released]


def inputs(t=5, s=5):
    draws = np.random.default_rng(0)
    return [draws.normal(size=(2, n, 2, 4)).astype(np.float32) for n in (t, s, s)]


def tables(half=2):
    drawn = np.random.default_rng(1).normal(size=(2, 2 * half, 2, 4))
    names = ("relative_key", "relative_query")
    return dict(zip(names, drawn.astype(np.float32), strict=True))


def slow(query, key, value, mask, sign, relative_key, relative_query):
    arrays = (query, key, value, relative_key, relative_query)
    query, key, value, relative_key, relative_query = map(np.float64, arrays)
    out, half = np.zeros(query.shape), len(relative_key) // 2
    offset = key.shape[1] - query.shape[1]

    def delta(distance):
        return min(max(distance + half, 0), 2 * half - 1)

    for b, t, n in np.ndindex(query.shape[:3]):
        weights = np.zeros(key.shape[1])
        for s in np.flatnonzero(mask[t]):
            distance = t + offset - s
            score = query[b, t, n] @ key[b, s, n]
            score += query[b, t, n] @ relative_key[delta(distance), n]
            score += key[b, s, n] @ relative_query[delta(-sign * distance), n]
            weights[s] = np.exp(score / np.sqrt(12))
        if weights.any():
            out[b, t, n] = weights / weights.sum() @ value[b, :, n]
    return out


@pytest.mark.parametrize(("attend", "sign"), [(BOTH[0], 1), (BOTH[1], -1)])
@pytest.mark.parametrize(("t", "s"), [(5, 5), (2, 6), (4, 2)])
@pytest.mark.parametrize("is_causal", [True, False])
def test_three_terms_make_a_score(attend, sign, t, s, is_causal):
    (q, k, v), given = inputs(t, s), tables()
    got = attend(q, k, v, is_causal=is_causal, **given)
    mask = np.tri(t, s, s - t, bool) if is_causal else np.ones((t, s), bool)
    want = slow(q, k, v, mask, sign, **given)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attend", BOTH)
def test_tables_of_zeros_are_attention_with_a_smaller_scale(attend):
    q, k, v = inputs()
    given = jax.tree.map(np.zeros_like, tables())
    got = attend(q, k, v, **given)
    want = jax.jit(softmax_attention)(q, k, v, scale=12**-0.5)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_released_third_term_looks_the_other_way():
    (q, k, v), given = inputs(), tables()
    got = [np.asarray(attend(q, k, v, **given)) for attend in BOTH]
    assert np.abs(got[0] - got[1]).max() > 1e-2
    given["relative_query"] = np.zeros_like(given["relative_query"])
    got = [attend(q, k, v, **given) for attend in BOTH]
    np.testing.assert_array_equal(*got)


@pytest.mark.parametrize("attend", BOTH)
def test_the_scores_of_equal_inputs_are_the_same_along_diagonals(attend):
    same = np.broadcast_to(inputs()[0][:1, :1], (1, 6, 2, 4))
    eye = np.broadcast_to(np.eye(6, dtype=np.float32)[None, :, None], (1, 6, 2, 6))
    weights = attend(same, same, eye, **tables())
    weights = np.log(np.asarray(weights)[0, :, 0])
    ratio = weights - weights.diagonal()[:, None]
    np.testing.assert_allclose(ratio[1:, 1:], ratio[:-1, :-1], atol=1e-5)


@pytest.mark.parametrize("attend", BOTH)
def test_tables_of_another_shape_are_refused(attend):
    (q, k, v), given = inputs(), tables()
    for name in given:
        with pytest.raises(ValueError, match="2 k"):
            attend(q, k, v, **{**given, name: given[name][1:]})


def test_log_buckets_are_odd_exact_near_by_and_logarithmic_beyond():
    distances = np.arange(-600, 601)
    got = deberta_log_buckets(distances, buckets=16, max_distance=64)
    np.testing.assert_array_equal(got, -got[::-1])
    near = np.abs(distances) <= 8
    np.testing.assert_array_equal(got[near], distances[near])
    assert (np.diff(got) >= 0).all()
    assert got[distances == 63] == 15
    # 8 + ceil(7 ln(20 / 8) / ln(63 / 8)) = 8 + ceil(3.108)
    assert got[distances == 20] == 12


def test_buckets_change_far_distances_alone():
    (q, k, v), given = inputs(), tables(half=4)

    def bucket(distances):
        return deberta_log_buckets(distances, buckets=4, max_distance=5)

    got = np.asarray(deberta_attention(q, k, v, bucket=bucket, **given))
    plain = np.asarray(deberta_attention(q, k, v, **given))
    near = np.tri(5, k=2, dtype=bool) & ~np.tri(5, k=-3, dtype=bool)
    mask = near[None, None]
    np.testing.assert_allclose(
        deberta_attention(q, k, v, mask, bucket=bucket, **given),
        deberta_attention(q, k, v, mask, **given),
        rtol=1e-6,
    )
    assert np.abs(got - plain).max() > 1e-3
    with pytest.raises(ValueError, match="got 5 and 512"):
        deberta_log_buckets(np.arange(3), buckets=5)
