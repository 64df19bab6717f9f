import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.attention.relative_shift import (
    relative_distances,
    relative_shift,
    relative_unshift,
)

SIZES = [(1, 1), (1, 4), (4, 4), (2, 5), (5, 2), (3, 1), (2, 2)]


@pytest.mark.parametrize(("t", "s"), SIZES)
def test_shifting_is_a_gather_also_with_a_memory(t, s):
    rows = np.arange(6 * t * (s + t - 1)).reshape(2, 3, t, s + t - 1)
    got = np.asarray(jax.jit(relative_shift)(rows))
    assert got.shape == (2, 3, t, s)
    place = {
        distance: column for column, distance in enumerate(relative_distances(t, s))
    }
    for i, j in np.ndindex(t, s):
        np.testing.assert_array_equal(
            got[..., i, j], rows[..., i, place[i + s - t - j]]
        )


@pytest.mark.parametrize(("t", "s"), SIZES)
def test_unshifting_is_the_transpose_and_undoes_it(t, s):
    y = np.arange(1, t * s + 1, dtype=np.float32).reshape(t, s)

    @jax.jit
    def both(y):
        (pulled,) = jax.vjp(relative_shift, jnp.zeros((t, s + t - 1)))[1](y)
        return relative_unshift(y), pulled, relative_shift(relative_unshift(y))

    there, pulled, back = both(y)
    np.testing.assert_array_equal(there, pulled)
    np.testing.assert_array_equal(back, y)


def test_distances_go_from_the_first_key_to_the_last():
    np.testing.assert_array_equal(relative_distances(3, 2), [1, 0, -1, -2])
    with pytest.raises(ValueError, match="0, 2"):
        relative_distances(0, 2)


def test_too_few_columns_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        relative_shift(np.zeros((3, 2)))
