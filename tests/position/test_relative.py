import jax
import numpy as np
import pytest

from kexue_jax.position import relative

relative_positions = jax.jit(relative.relative_positions)
masked_positions = jax.jit(relative.masked_positions)


def test_is_query_minus_key():
    got = relative_positions(np.array([3, 5]), np.array([0, 4, 7]))
    np.testing.assert_array_equal(got, [[[3, -1, -4], [5, 1, -2]]])


def test_either_side_may_differ_between_examples():
    query, key = np.array([[3], [5]]), np.array([0, 4])
    want = [[[3, -1]], [[5, 1]]]
    np.testing.assert_array_equal(relative_positions(query, key), want)
    key = np.broadcast_to(key, (2, 2))
    np.testing.assert_array_equal(relative_positions(query, key), want)


@pytest.mark.parametrize(("query", "key"), [((), (3,)), ((3,), (1, 1, 3))])
def test_other_ranks_are_refused(query, key):
    with pytest.raises(ValueError, match="key_positions"):
        relative_positions(np.zeros(query), np.zeros(key))


def test_two_batches_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\), \(4, 3\)"):
        relative_positions(np.zeros((2, 3)), np.zeros((4, 3)))


def test_padding_at_the_left_does_not_move_the_tokens_behind_it():
    mask = np.array([[True, True, True, False], [False, False, True, True]])
    got = masked_positions(mask)
    np.testing.assert_array_equal(got, [[0, 1, 2, 2], [0, 0, 0, 1]])
    assert got.dtype == np.int32
    with pytest.raises(ValueError, match="int32"):
        masked_positions(np.ones((2, 3), np.int32))
