import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.learned import hierarchical_table, learned, multiplied

compiled_table = jax.jit(hierarchical_table, static_argnames=("length", "alpha"))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_rows_are_looked_up():
    table, places = normal(5, 3).astype(jnp.bfloat16), np.array([4, 0])
    got = jax.jit(lambda table: learned(table, places))(table)
    np.testing.assert_array_equal(got, table[places])
    several = np.array([[0, 1, 2, 3, 4, 0, 1], [0, 1, 2, 0, 1, 2, 3]])  # packed
    got = jax.jit(learned)(table, several)
    np.testing.assert_array_equal(got, table[several])
    assert got.dtype == jnp.bfloat16


def test_a_sequence_longer_than_the_table_is_refused_when_it_is_traced():
    with pytest.raises(ValueError, match="see hierarchical_table"):
        jax.jit(lambda table: learned(table, np.arange(6)))(np.ones((5, 3)))


@pytest.mark.parametrize("positions", [np.array([3, 5]), jnp.array([3, 5]), [[-1]]])
def test_known_positions_beyond_the_table_are_refused(positions):
    with pytest.raises(ValueError, match="0 to 4"):
        learned(np.ones((5, 3)), np.asarray(positions))


def test_unknown_positions_beyond_the_table_are_nan_and_no_other_row():
    got = np.asarray(jax.jit(learned)(np.ones((5, 1)), np.array([4, 5, -1])))
    np.testing.assert_array_equal(got[:, 0], [1.0, np.nan, np.nan])


def test_gradients_go_to_the_rows_that_were_used():
    grad = jax.grad(lambda table: learned(table, np.array([1, 1, 2])).sum())
    got = np.asarray(jax.jit(grad)(np.ones((4, 1))))
    np.testing.assert_array_equal(got[:, 0], [0.0, 2.0, 1.0, 0.0])


def test_floats_and_other_ranks_are_refused():
    with pytest.raises(ValueError, match="float32"):
        learned(np.ones((5, 3)), np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"\(5,\)"):
        learned(np.ones(5), np.arange(2))


def test_multiplied_by_one_plus_the_positions():
    features, table = normal(2, 3, 4), normal(3, 4)
    want = features * (1 + table)
    got = jax.jit(multiplied)(features, table)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    got = jax.jit(multiplied)(features, np.zeros((3, 4)))
    np.testing.assert_array_equal(got, features)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        multiplied(features, table[0])


def slow_table(table, length, alpha):
    table = np.asarray(table, np.float64)
    n = len(table)
    u = (table - alpha * table[0]) / (1 - alpha)
    return np.stack([alpha * u[k // n] + (1 - alpha) * u[k % n] for k in range(length)])


@pytest.mark.parametrize("alpha", [0.4, 0.2, 0.7])
@pytest.mark.parametrize("length", [1, 3, 4, 7, 16])
def test_two_digits_make_a_position(alpha, length):
    table = normal(4, 3)
    got = compiled_table(table, length=length, alpha=alpha)
    want = slow_table(table, length, alpha)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_first_rows_are_the_table_itself():
    table = normal(4, 3).astype(jnp.bfloat16)
    got = np.asarray(compiled_table(table, length=16))
    np.testing.assert_array_equal(got[:4], table)
    assert got.dtype == jnp.bfloat16


def test_all_positions_differ_also_those_with_digits_exchanged():
    got = np.asarray(compiled_table(normal(4, 3), length=16))
    apart = np.abs(got[:, None] - got[None]).max(-1) + np.eye(16)
    assert apart.min() > 1e-3
    half = slow_table(got[:4], 16, 0.5)
    np.testing.assert_allclose(half[1 * 4 + 2], half[2 * 4 + 1], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(length=17), "from 1 to 16, got 17"),
        (dict(length=0), "got 0"),
        (dict(length=5, alpha=0.5), "alpha"),
        (dict(length=5, alpha=1.0), "alpha"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        hierarchical_table(np.ones((4, 3)), **options)
