import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.rotary import (
    halves_from_neighbours,
    neighbours_from_halves,
    partial_rotary,
    rotary,
    rotary_2d,
    rotary_halves,
)

traced, traced_halves = (
    jax.jit(f, static_argnames=("base", "amplitude")) for f in (rotary, rotary_halves)
)
halves, neighbours = (
    jax.jit(f, static_argnames=("heads", "size"))
    for f in (halves_from_neighbours, neighbours_from_halves)
)
both = pytest.mark.parametrize("turn", [traced, traced_halves])


def known(turn, features, positions, **options):
    """By positions, and frequencies, that are not among the traced arguments."""
    return np.asarray(jax.jit(lambda x: turn(x, positions, **options))(features))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def slow(features, positions, base=10000.0):
    features = np.asarray(features, np.float64)
    size = features.shape[-1]
    out = np.empty_like(features)
    for b, t, n in np.ndindex(features.shape[:3]):
        turn = np.zeros((size, size))
        for i in range(size // 2):
            angle = float(positions[t]) * base ** (-2 * i / size)
            c, s = np.cos(angle), np.sin(angle)
            turn[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
        out[b, t, n] = turn @ features[b, t, n]
    return out


def test_is_the_block_diagonal_rotation_of_the_post():
    features = normal(2, 5, 3, 8)
    positions = np.array([0, 1, 2, 7, 100])
    got = traced(features, positions, base=50.0)
    want = slow(features, positions, 50.0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@both
def test_scores_depend_on_the_difference_of_positions_alone(turn):
    query, key = normal(2, 1, 1, 1, 16)

    def score(m, n):
        places = np.array([m]), np.array([n])
        return np.vdot(turn(query, places[0]), turn(key, places[1]))

    for shift in (1, 10, 100):
        np.testing.assert_allclose(
            score(5 + shift, 2 + shift), score(5, 2), rtol=1e-4, atol=1e-4
        )
    assert abs(score(5, 2) - score(2, 5)) > 1e-3


@both
def test_keeps_lengths_and_leaves_position_zero_alone(turn):
    features = normal(1, 4, 2, 6)
    out = np.asarray(turn(features, np.arange(4)))
    np.testing.assert_array_equal(out[:, 0], features[:, 0])
    lengths = np.linalg.norm(features, axis=-1)
    np.testing.assert_allclose(np.linalg.norm(out, axis=-1), lengths, rtol=1e-5)


def test_halves_are_neighbours_in_another_order():
    features = normal(1, 4, 2, 8)
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    want = np.asarray(traced(features, np.arange(4)))[..., order]
    got = traced_halves(features[..., order], np.arange(4))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_positions_may_differ_between_examples():
    features = normal(2, 3, 1, 4)
    positions = np.array([[0, 1, 2], [5, 6, 7]])
    got = np.asarray(traced(features, positions))
    for b in range(2):
        np.testing.assert_allclose(
            got[b : b + 1], traced(features[b : b + 1], positions[b]), rtol=1e-6
        )


def test_angles_are_float32_although_features_are_bfloat16():
    features = normal(1, 2, 1, 4).astype(jnp.bfloat16)
    positions = np.array([1001, 1003])  # bfloat16 would round both to the same angle
    got = traced(features, positions)
    assert got.dtype == jnp.bfloat16
    want = slow(features, positions)
    np.testing.assert_allclose(np.float32(got), want, rtol=2e-2, atol=2e-2)


def test_gradients_turn_back():
    @jax.jit
    def there_and_back(features, positions):
        out, pull = jax.vjp(lambda x: rotary(x, positions), features)
        return pull(out)[0]

    features = normal(1, 3, 1, 4)
    back = there_and_back(features, np.arange(3))
    np.testing.assert_allclose(back, features, rtol=1e-5, atol=1e-6)


@both
def test_an_odd_size_is_refused(turn):
    with pytest.raises(ValueError, match="head size 5"):
        turn(np.zeros((1, 2, 1, 5)), np.arange(2))


def test_positions_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        rotary(np.zeros((1, 2, 1, 4)), np.arange(3))


def scores_when_moved(query, key, shifts, turn):
    """``[shifts]``: scores of positions 5 and 2 after both moved by each shift."""
    turned = [
        turn(np.broadcast_to(x, (1, len(shifts), 1, 64)), shifts + place)
        for x, place in ((query, 5), (key, 2))
    ]
    return np.sum(np.float64(turned[0]) * np.float64(turned[1]), axis=(0, 2, 3))


def unit_scores(size=64):
    query, key = normal(2, 1, 1, 1, size)
    return query, key * np.float32(4.0 / size**0.5)  # their product is of order 4


def test_tables_of_known_positions_keep_scores_to_2e_6_up_to_1e5():
    query, key = unit_scores()
    shifts = np.array([0, 1, 512, 4096, 32768, 100000])
    got = scores_when_moved(query, key, shifts, functools.partial(known, rotary))
    np.testing.assert_allclose(got, got[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize(("shift", "bound"), [(512, 3e-5), (4096, 3e-4), (32768, 2e-3)])
def test_traced_positions_keep_scores_to_the_stated_tolerance(shift, bound):
    query, key = unit_scores()
    got = scores_when_moved(query, key, np.array([0, shift]), traced)
    assert abs(got[1] - got[0]) < bound


@both
def test_known_and_traced_positions_agree_where_both_are_exact(turn):
    features = normal(2, 5, 2, 8)
    for shape in ((5,), (2, 5)):
        positions = np.arange(np.prod(shape)).reshape(shape)
        got = known(turn.__wrapped__, features, positions)
        want = turn(features, positions)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_the_frequencies_of_the_base_change_nothing():
    features = normal(1, 5, 2, 8)
    theta = 50.0 ** (-np.arange(0, 8, 2) / 8)
    for positions in (np.arange(5), jnp.arange(5)):
        want = known(rotary, features, positions, base=50.0)
        for frequencies in (theta, jnp.asarray(theta, jnp.float32)):
            got = known(rotary, features, positions, frequencies=frequencies)
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_frequencies_can_be_trained():
    features = normal(1, 5, 1, 4)

    @jax.jit
    def loss(frequencies):
        return jnp.sum(rotary(features, np.arange(5), frequencies=frequencies)[..., 0])

    at, step = np.array([1.0, 0.1]), np.array([1e-2, 0.0])
    grad = np.asarray(jax.jit(jax.grad(loss))(at))
    ahead, behind = float(loss(at + step)), float(loss(at - step))
    np.testing.assert_allclose(grad[0], (ahead - behind) / (2 * step[0]), rtol=1e-2)
    assert grad[1] == 0.0  # the first feature turns with the first frequency alone


def test_the_amplitude_multiplies_the_result():
    features = normal(1, 5, 1, 4)
    got = traced(features, np.arange(5), amplitude=1.5)
    want = 1.5 * np.asarray(traced(features, np.arange(5)))
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_two_rotations_are_one_by_the_difference():
    features = normal(1, 1, 1, 8)
    turn = functools.partial(known, rotary)
    there = turn(features, np.array([7]))
    np.testing.assert_allclose(
        turn(there, np.array([-4])), turn(features, np.array([3])), atol=1e-6
    )


def test_pairs_of_one_and_zero_give_the_products_of_sinusoids():
    features = np.broadcast_to(np.float32([1.0, 0.0] * 4), (1, 9, 1, 8))
    turned = known(rotary, features, np.arange(9))
    got = np.einsum("btnh,bsnh->ts", turned, turned)
    distance = np.arange(9)[:, None] - np.arange(9)
    theta = 10000.0 ** (-np.arange(0, 8, 2) / 8)
    want = np.cos(distance[..., None] * theta).sum(-1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@both
def test_partial_rotation_leaves_the_other_features_alone(turn):
    features = normal(1, 5, 2, 8).astype(jnp.bfloat16)
    turned = jax.jit(functools.partial(partial_rotary, size=4, rotate=turn))
    got = np.asarray(turned(features, np.arange(5)))
    np.testing.assert_array_equal(got[..., 4:], features[..., 4:])
    np.testing.assert_array_equal(got[..., :4], turn(features[..., :4], np.arange(5)))
    assert got.dtype == jnp.bfloat16


def test_scores_in_the_plane_depend_on_both_differences_alone():
    query, key = normal(2, 1, 1, 1, 16)

    @functools.partial(jax.jit, static_argnums=(0, 1))
    def score(at, to):
        turned = rotary_2d(query, np.array([at])), rotary_2d(key, np.array([to]))
        return jnp.sum(turned[0] * turned[1])

    want = score((5, 2), (3, 8))
    np.testing.assert_allclose(score((9, 2), (7, 8)), want, rtol=1e-4)
    np.testing.assert_allclose(score((5, 102), (3, 108)), want, rtol=1e-4)
    assert abs(score((6, 2), (3, 8)) - want) > 1e-3
    assert abs(score((5, 3), (3, 8)) - want) > 1e-3


def test_kernels_put_in_another_order_leave_scores_as_they_were():
    inputs, kernels = normal(1, 5, 6), normal(2, 6, 3 * 8, seed=1)

    @functools.partial(jax.jit, static_argnums=0)
    def scores(turn, kernels):
        query, key = (
            turn((inputs @ kernel).reshape(1, 5, 3, 8), jnp.arange(5))
            for kernel in kernels
        )
        return jnp.einsum("btnh,bsnh->bnts", query, key)

    for size in (8, 4):
        other = halves(kernels, heads=3, size=size)
        got, want = (
            scores(functools.partial(partial_rotary, size=size, rotate=turn), kernel)
            for turn, kernel in ((rotary_halves, other), (rotary, kernels))
        )
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [None, 4])
def test_one_order_is_the_inverse_of_the_other(size):
    array = normal(2, 12)
    there = halves(array, heads=2, size=size)
    back = neighbours(there, heads=2, size=size)
    np.testing.assert_array_equal(back, array)
    assert (np.asarray(there) != array).any()


def test_what_does_not_fit_is_refused_by_name():
    features = np.zeros((1, 2, 1, 6))
    with pytest.raises(ValueError, match=r"frequencies must be \[3\]"):
        rotary(features, np.arange(2), frequencies=np.ones(2))
    with pytest.raises(ValueError, match="at most 6, got 8"):
        partial_rotary(features, np.arange(2), size=8)
    with pytest.raises(ValueError, match="multiple of 4"):
        rotary_2d(features, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="N = 4"):
        halves_from_neighbours(features, heads=4)
    with pytest.raises(ValueError, match="got 3"):
        halves_from_neighbours(features, size=3)
