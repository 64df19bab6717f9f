import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
import scipy.stats

from kexue_jax.algorithms import hashing, random_projection
from kexue_jax.algorithms.hashing import E2Hashes, hamming_distances, packed

SIZES = ("input_size", "output_size")
gaussian_projection = jax.jit(
    random_projection.gaussian_projection, static_argnames=SIZES
)
cross_polytopes = jax.jit(hashing.cross_polytopes, static_argnames=SIZES)
cross_polytope_codes = jax.jit(hashing.cross_polytope_codes)
e2_hashes = jax.jit(hashing.e2_hashes, static_argnames=(*SIZES, "width"))
e2_codes = jax.jit(hashing.e2_codes)
e2_collision_probability = jax.jit(
    hashing.e2_collision_probability, static_argnames="width"
)
sign_hashes = jax.jit(hashing.sign_hashes)
sign_collision_probability = jax.jit(hashing.sign_collision_probability)
cosine_of_codes = jax.jit(hashing.cosine_of_codes)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def at_angles(angles, m):
    """A unit vector and others at these angles to it: ``[1, m]``, ``[K, m]``."""
    drawn = np.random.default_rng(0).normal(size=(m, 2))
    first, second = np.linalg.qr(drawn)[0].T
    angles = np.asarray(angles)[:, None]
    others = np.cos(angles) * first + np.sin(angles) * second
    return first[None].astype(np.float32), others.astype(np.float32)


def test_signs_agree_as_often_as_the_angle_says_and_give_the_cosine_back():
    angles = np.array([0.05, 0.4, 0.69, 1.2, math.pi / 2, 2.2, 3.1])
    u, v = at_angles(angles, m=10)
    n = 8000  # far more than m
    down = gaussian_projection(jax.random.key(0), input_size=10, output_size=n)
    bits = np.asarray(sign_hashes(down, np.concatenate([u, v])))
    equal = np.mean(bits[1:] == bits[:1], axis=1)
    chance = 1.0 - angles / math.pi
    assert (np.abs(equal - chance) < 5.0 * np.sqrt(chance * (1 - chance) / n)).all()
    np.testing.assert_allclose(
        sign_collision_probability(np.cos(angles)), chance, atol=1e-4
    )
    codes = np.where(bits, 1.0, -1.0)
    similarity = codes[1:] @ codes[0] / n
    assert (np.abs(similarity - (1.0 - 2.0 * angles / math.pi)) < 4 / n**0.5).all()
    found = np.asarray(cosine_of_codes(similarity))
    assert (np.abs(found - np.cos(angles)) < 0.5 * math.pi * 4 / n**0.5).all()
    assert (np.abs(similarity - np.cos(angles)) > 0.1)[[1, 2, 3, 5]].all()


def test_the_cosine_of_codes_is_wrong_by_as_much_as_the_notes_say():
    angles = np.linspace(0.0, 0.5 * math.pi, 100_001)
    bias = np.cos(angles) - (1.0 - 2.0 * angles / math.pi)
    assert round(bias.max(), 4) == 0.2105
    assert round(angles[bias.argmax()], 3) == 0.690


def test_probabilities_and_cosines_at_their_ends():
    ends = np.array([1.0, -1.0, 1.0 + 1e-6, 0.0])
    np.testing.assert_allclose(
        sign_collision_probability(ends), [1.0, 0.0, 1.0, 0.5], atol=1e-6
    )
    ends = np.array([1.0, 0.0, -1.0])
    np.testing.assert_allclose(cosine_of_codes(ends), [1.0, 0.0, -1.0], atol=1e-6)


def test_a_zero_counts_as_plus_one():
    down = gaussian_projection(jax.random.key(0), input_size=3, output_size=40)
    zeros = np.zeros(3, np.float32)
    assert np.asarray(sign_hashes(down, zeros)).all()
    assert np.asarray(sign_hashes(down, -zeros)).all()
    assert np.asarray(sign_hashes(down, np.full(3, 1e-30, jnp.bfloat16))).any()


@pytest.mark.parametrize("n", [1, 31, 32, 70])
def test_packed_codes_have_the_distances_of_their_bits(n):
    draws = np.random.default_rng(n)
    x, y = draws.random((4, n)) < 0.5, draws.random((6, n)) < 0.5

    @jax.jit
    def of(x, y):
        return packed(x), hamming_distances(packed(x), packed(y))

    words, got = of(x, y)
    assert words.dtype == jnp.uint32
    assert words.shape == (4, -(-n // 32))
    bytes_of = np.packbits(x, axis=1, bitorder="little")
    filled = np.zeros((4, 4 * words.shape[1]), np.uint8)
    filled[:, : bytes_of.shape[1]] = bytes_of
    np.testing.assert_array_equal(words, filled.view("<u4"))
    np.testing.assert_array_equal(got, (x[:, None] != y[None]).sum(axis=2))


def test_steps_are_those_of_the_formula(keys):
    hashes = e2_hashes(next(keys), input_size=6, output_size=9, width=0.7)
    x = normal(2, 5, 6)
    got = e2_codes(hashes, x)
    lines, offsets, width = (np.asarray(part, np.float64) for part in hashes)
    want = (np.asarray(x, np.float64) @ lines.T + offsets) / width
    sure = np.abs(want - np.round(want)) > 1e-5
    np.testing.assert_array_equal(np.asarray(got)[sure], np.floor(want)[sure])
    assert got.dtype == jnp.int32
    assert (offsets >= 0.0).all()
    assert (offsets <= width).all()


def test_steps_are_shared_as_often_as_the_closed_form_says():
    n, m, width = 20_000, 5, 2.0
    distances = np.array([0.0, 0.2, 1.0, 2.0, 5.0, 40.0])
    hashes = e2_hashes(jax.random.key(1), input_size=m, output_size=n, width=width)
    start = np.random.default_rng(0).normal(size=m)
    way = np.array([0.6, 0.0, 0.8, 0.0, 0.0])
    x = np.float32(start + distances[:, None] * way)
    codes = np.asarray(e2_codes(hashes, x))
    equal = np.mean(codes == codes[:1], axis=1)
    chance = np.asarray(e2_collision_probability(np.float32(distances), width=width))
    assert chance[0] == equal[0] == 1.0
    error = np.sqrt(chance * (1.0 - chance) / n)
    assert (np.abs(equal - chance) <= 5.0 * error).all()


def test_the_closed_form_is_the_integral_of_datar():
    def integral(distance, width):
        def inside(t):
            return 2.0 * scipy.stats.norm.pdf(t / distance) / distance * (1 - t / width)

        return scipy.integrate.quad(inside, 0.0, width, epsabs=1e-13)[0]

    with jax.enable_x64(True):
        for width in (0.5, 4.0):
            distances = np.array([0.3, 1.0, 3.0, 1e4])
            got = e2_collision_probability(distances, width=width)
            want = [integral(distance, width) for distance in distances]
            np.testing.assert_allclose(got, want, rtol=1e-8)
            slope = jax.jit(jax.grad(partial(e2_collision_probability, width=width)))
            assert np.isfinite(slope(0.0))
            assert slope(1.0) < 0.0


@pytest.mark.parametrize("m", [1, 8, 11])
def test_polytope_codes_are_those_of_whole_matrices(m, keys):
    hashes = cross_polytopes(next(keys), input_size=m, output_size=5)
    x = normal(2, 3, m)
    got = np.asarray(cross_polytope_codes(hashes, x))
    first, others = (np.asarray(part) for part in hashes)
    size = others.shape[-1]
    mixed = scipy.linalg.hadamard(size) / math.sqrt(size)
    filled = np.zeros((2, 3, size))
    filled[..., :m] = x
    for at in range(5):
        signs = np.ones(size)
        signs[:m] = first[at]
        turned = filled * signs @ mixed
        for own in others[at]:
            turned = turned * own @ mixed
        both = np.concatenate([turned, -turned], axis=-1)
        taken = np.take_along_axis(both, got[..., at, None], axis=-1)[..., 0]
        # Of few dimensions that are filled up, two coordinates can be the same.
        np.testing.assert_allclose(taken, both.max(axis=-1), rtol=1e-5)
    assert not np.asarray(cross_polytope_codes(hashes, np.zeros(m))).any()


def test_polytope_codes_are_shared_as_with_rotations_that_are_random():
    n, m = 3000, 32
    angles = np.array([0.2, 0.5, 1.0, 1.6])
    u, v = at_angles(angles, m)
    x = np.concatenate([u, v])
    hashes = cross_polytopes(jax.random.key(0), input_size=m, output_size=n)
    codes = np.asarray(cross_polytope_codes(hashes, x))
    rotations = scipy.stats.ortho_group.rvs(m, size=n, random_state=0)
    turned = np.einsum("nij,kj->nki", rotations, x)
    other = np.concatenate([turned, -turned], axis=-1).argmax(axis=-1).T
    shares = [np.mean(c[1:] == c[:1], axis=1) for c in (codes, other)]
    error = np.sqrt(2.0 * shares[1] * (1.0 - shares[1]) / n)
    assert (np.abs(shares[0] - shares[1]) < 5.0 * error + 1e-3).all()
    assert (np.diff(shares[0]) < 0.0).all()


@pytest.mark.parametrize("kind", ["signs", "steps", "polytopes"])
def test_hashes_are_the_same_for_a_key_in_chunks_and_mapped(kind, keys):
    key, x = next(keys), normal(7, 5)
    make, apply = {
        "signs": (gaussian_projection, sign_hashes),
        "steps": (partial(e2_hashes, width=1.0), e2_codes),
        "polytopes": (cross_polytopes, cross_polytope_codes),
    }[kind]

    @jax.jit
    def of(x):
        return apply(make(key, input_size=5, output_size=9), x)

    whole = of(x)
    np.testing.assert_array_equal(np.concatenate([of(x[:4]), of(x[4:])]), whole)
    np.testing.assert_array_equal(jax.jit(jax.vmap(of))(x), whole)
    assert whole.shape == (7, 9)


def test_what_does_not_fit_is_refused(keys):
    key = next(keys)
    for width in (0.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"width must be .*got {width}"):
            e2_hashes(key, input_size=2, output_size=3, width=width)
        with pytest.raises(ValueError, match=f"width must be .*got {width}"):
            e2_collision_probability(np.ones(2), width=width)
    with pytest.raises(ValueError, match="output_size must be positive, got 0"):
        e2_hashes(key, input_size=2, output_size=0, width=1.0)
    with pytest.raises(ValueError, match="input_size must be positive, got 0"):
        cross_polytopes(key, input_size=0, output_size=1)
    steps = E2Hashes(np.ones((3, 2)), np.ones(3), np.float32(1.0))
    with pytest.raises(ValueError, match=r"x must be \[\.\.\., 2\] .*got \(4,\)"):
        e2_codes(steps, np.ones(4))
    with pytest.raises(ValueError, match=r"x must be \[\.\.\., 2\] .*got \(\)"):
        cross_polytope_codes(
            cross_polytopes(key, input_size=2, output_size=1), np.ones(())
        )
    with pytest.raises(ValueError, match=r"bool, got float32 \(3,\)"):
        packed(np.ones(3, np.float32))
    words = np.zeros((2, 1), np.uint32)
    with pytest.raises(ValueError, match=r"uint32, got uint32 \(2, 1\) and int32"):
        hamming_distances(words, words.astype(np.int32))
    with pytest.raises(ValueError, match=r"and uint32 \(2, 2\)"):
        hamming_distances(words, np.zeros((2, 2), np.uint32))
