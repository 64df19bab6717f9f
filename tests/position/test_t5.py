import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position import t5

t5_bias, t5_bias_causal = (
    jax.jit(f, static_argnames="max_distance") for f in (t5.t5_bias, t5.t5_bias_causal)
)
t5_bucket, t5_bucket_causal = (
    jax.jit(f, static_argnames=("buckets", "max_distance"))
    for f in (t5.t5_bucket, t5.t5_bucket_causal)
)

ONE_SIDE = [*range(9), 12, 16, 23, 32, 46, 64, 91]
CAUSAL = [*range(17), 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_buckets_begin_where_the_post_has_them():
    got = np.asarray(t5_bucket(np.arange(1000)))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(got, prepend=-1)), ONE_SIDE)
    assert got.max() == 15


def test_keys_after_the_query_have_the_other_sixteen():
    distances = np.arange(1, 1000)
    before, after = (np.asarray(t5_bucket(d)) for d in (distances, -distances))
    np.testing.assert_array_equal(after, before + 16)
    assert int(t5_bucket(np.array(0))) == 0


def test_causal_buckets_begin_where_they_should():
    got = np.asarray(t5_bucket_causal(np.arange(1000)))
    np.testing.assert_array_equal(np.flatnonzero(np.diff(got, prepend=-1)), CAUSAL)
    assert not np.asarray(t5_bucket_causal(-np.arange(1000))).any()


@pytest.mark.parametrize(("buckets", "distance"), [(32, 128), (8, 20), (64, 256)])
def test_is_the_logarithm_of_the_formula(buckets, distance):
    exact, d = buckets // 4, np.arange(1, 2 * distance)
    # A hair more, as 8 ln(16/8) / ln(16) is a little below 2 in floating point.
    steps = np.log(d / exact) / np.log(distance / exact) * (buckets // 2 - exact)
    large = np.minimum(exact + np.floor(steps + 1e-9), buckets // 2 - 1)
    want = np.where(d < exact, d, large)
    got = t5_bucket(d, buckets=buckets, max_distance=distance)
    np.testing.assert_array_equal(got, want)


def test_the_bias_of_a_pair_is_the_row_of_its_bucket():
    table = normal(8, 3)
    query, key = np.array([4, 40]), np.arange(30)
    for bias, bucket in ((t5_bias, t5_bucket), (t5_bias_causal, t5_bucket_causal)):
        got = bias(table, query, key, max_distance=16)
        assert got.shape == (1, 3, 2, 30)
        assert got.dtype == jnp.float32
        relative = query[:, None] - key
        row = bucket(relative, buckets=8, max_distance=16)
        want = table[np.asarray(row)]
        np.testing.assert_array_equal(np.moveaxis(np.asarray(got)[0], 0, -1), want)


def test_the_bias_is_the_same_along_diagonals_and_differs_between_sides():
    bias = np.asarray(t5_bias(normal(32, 2), np.arange(9), np.arange(9)))
    np.testing.assert_array_equal(bias[..., 1:, 1:], bias[..., :-1, :-1])
    assert (bias[0, :, 0, 1:] != bias[0, :, 1:, 0]).all()


def test_gradients_reach_the_rows_that_were_used():
    def loss(table, positions):
        return jnp.sum(t5_bias(table, positions, positions))

    table = np.zeros((8, 1), jnp.bfloat16)
    grad = np.asarray(jax.jit(jax.grad(loss))(table, np.arange(3)))
    np.testing.assert_array_equal(grad[:, 0], [3, 2, 1, 0, 0, 2, 1, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(buckets=7), "even.*7"),
        (dict(buckets=2), "1 buckets"),
        (dict(max_distance=8), "max_distance 8"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        t5_bucket(np.arange(3), **options)


def test_floats_and_tables_without_heads_are_refused():
    with pytest.raises(ValueError, match="float32"):
        t5_bucket_causal(np.ones(3))
    with pytest.raises(ValueError, match=r"table must be .*\(8,\)"):
        t5_bias(np.ones(8), np.arange(3), np.arange(3))
