import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.position.rotary import rotary, rotary_halves


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


def test_is_the_block_diagonal_rotation_of_the_post(keys):
    features = jax.random.normal(next(keys), (2, 5, 3, 8))
    positions = jnp.array([0, 1, 2, 7, 100])
    got = rotary(features, positions, base=50.0)
    want = slow(features, positions, 50.0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("turn", [rotary, rotary_halves])
def test_scores_depend_on_the_difference_of_positions_alone(keys, turn):
    query = jax.random.normal(next(keys), (1, 1, 1, 16))
    key = jax.random.normal(next(keys), (1, 1, 1, 16))

    def score(m, n):
        return jnp.sum(turn(query, jnp.array([m])) * turn(key, jnp.array([n])))

    for shift in (1, 10, 100):
        np.testing.assert_allclose(
            score(5 + shift, 2 + shift), score(5, 2), rtol=1e-4, atol=1e-4
        )
    assert abs(score(5, 2) - score(2, 5)) > 1e-3


@pytest.mark.parametrize("turn", [rotary, rotary_halves])
def test_keeps_lengths_and_leaves_position_zero_alone(keys, turn):
    features = jax.random.normal(next(keys), (1, 4, 2, 6))
    out = turn(features, jnp.arange(4))
    np.testing.assert_array_equal(out[:, 0], features[:, 0])
    lengths = jnp.linalg.norm(features, axis=-1)
    np.testing.assert_allclose(jnp.linalg.norm(out, axis=-1), lengths, rtol=1e-5)


def test_halves_are_neighbours_in_another_order(keys):
    features = jax.random.normal(next(keys), (1, 4, 2, 8))
    order = np.array([0, 2, 4, 6, 1, 3, 5, 7])
    want = rotary(features, jnp.arange(4))[..., order]
    got = rotary_halves(features[..., order], jnp.arange(4))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_positions_may_differ_between_examples(keys):
    features = jax.random.normal(next(keys), (2, 3, 1, 4))
    positions = jnp.array([[0, 1, 2], [5, 6, 7]])
    got = rotary(features, positions)
    for b in range(2):
        np.testing.assert_allclose(
            got[b : b + 1], rotary(features[b : b + 1], positions[b]), rtol=1e-6
        )


def test_angles_are_float32_although_features_are_bfloat16(keys):
    features = jax.random.normal(next(keys), (1, 2, 1, 4)).astype(jnp.bfloat16)
    positions = jnp.array([1001, 1003])  # bfloat16 would round both to the same angle
    got = rotary(features, positions)
    assert got.dtype == jnp.bfloat16
    want = slow(features.astype(jnp.float32), positions)
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=2e-2, atol=2e-2)


def test_gradients_turn_back(keys):
    features = jax.random.normal(next(keys), (1, 3, 1, 4))
    out, pull = jax.vjp(lambda x: rotary(x, jnp.arange(3)), features)
    np.testing.assert_allclose(pull(out)[0], features, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("turn", [rotary, rotary_halves])
def test_an_odd_size_is_refused(turn):
    with pytest.raises(ValueError, match="head size 5"):
        turn(jnp.zeros((1, 2, 1, 5)), jnp.arange(2))


def test_positions_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        rotary(jnp.zeros((1, 2, 1, 4)), jnp.arange(3))
