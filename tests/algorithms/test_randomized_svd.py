import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg
from sklearn.utils.extmath import randomized_svd as sklearn_randomized_svd

from kexue_jax.algorithms import randomized_svd as module
from kexue_jax.algorithms.randomized_svd import SVD

gaussian_subspace, orthonormal_subspace = (
    jax.jit(f, static_argnames=("size", "rank"))
    for f in (module.gaussian_subspace, module.orthonormal_subspace)
)
oblivious_svd = jax.jit(module.oblivious_svd)
randomized_range = jax.jit(module.randomized_range, static_argnames=("size", "power"))
randomized_svd = jax.jit(
    module.randomized_svd, static_argnames=("rank", "oversampling", "power")
)
reconstructed = jax.jit(module.reconstructed)


def with_spectrum(values, m, n, seed=0):
    """A matrix ``[m, n]`` float64 of these singular values."""
    draws = np.random.default_rng(seed)
    sides = [np.linalg.qr(draws.normal(size=(size, len(values))))[0] for size in (m, n)]
    return (sides[0] * values) @ sides[1].T


def relative_error(matrix, svd):
    made = np.asarray(svd.u, float) * np.asarray(svd.s, float) @ np.asarray(svd.vh)
    return np.linalg.norm(matrix - made) / np.linalg.norm(matrix)


@pytest.mark.parametrize(("m", "n"), [(40, 30), (30, 40)])
@pytest.mark.parametrize("power", [0, 2])
def test_a_matrix_of_low_rank_is_found_exactly(m, n, power):
    values = np.array([5.0, 3.0, 2.0, 0.5, 0.01])
    matrix = with_spectrum(values, m, n)
    with jax.enable_x64(True):
        options = dict(rank=5, oversampling=3, power=power)
        found = randomized_svd(jax.random.key(0), matrix, **options)
        found = SVD(*map(np.asarray, found))
        assert relative_error(matrix, found) < 1e-10
        np.testing.assert_allclose(found.s, values, rtol=1e-10)
        for rows in (found.u.T, found.vh):
            np.testing.assert_allclose(rows @ rows.T, np.eye(5), atol=1e-10)


@pytest.mark.parametrize(
    ("rank", "best", "plain", "iterated"),
    [(10, 0.237, 0.289, 0.237), (20, 0.166, 0.220, 0.168), (50, 0.100, 0.147, 0.103)],
)
def test_one_iteration_comes_near_the_best_and_none_does_not(
    rank, best, plain, iterated
):
    matrix = with_spectrum(1.0 / np.arange(1.0, 301.0), 400, 300)
    values = np.linalg.svd(matrix, compute_uv=False)
    least = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    assert abs(least - best) < 5e-4
    errors = []
    for power in (0, 1, 2):
        single = matrix.astype(np.float32)
        found = randomized_svd(jax.random.key(3), single, rank=rank, power=power)
        errors.append(relative_error(matrix, found))
    assert abs(errors[0] - plain) < 0.05 * plain
    assert abs(errors[1] - iterated) < 2e-3
    assert least - 1e-6 <= errors[1] < 1.05 * least
    assert errors[2] < 1.02 * least


def test_it_is_as_good_as_that_of_scikit_learn_and_near_svds():
    rank = 10
    matrix = with_spectrum(1.0 / np.arange(1.0, 101.0), 120, 100)
    theirs = SVD(
        *sklearn_randomized_svd(
            matrix,
            rank,
            n_oversamples=10,
            n_iter=2,
            power_iteration_normalizer="QR",
            random_state=0,
        )
    )
    with jax.enable_x64(True):
        ours = randomized_svd(jax.random.key(0), matrix, rank=rank, power=2)
    errors = [relative_error(matrix, found) for found in (ours, theirs)]
    assert abs(errors[0] / errors[1] - 1.0) < 5e-3
    exact = scipy.sparse.linalg.svds(matrix, rank, return_singular_vectors=False)
    np.testing.assert_allclose(ours.s, np.sort(exact)[::-1], rtol=1e-2)


@pytest.mark.parametrize("kind", [gaussian_subspace, orthonormal_subspace])
def test_the_oblivious_form_has_the_error_of_any_matrix(kind):
    """It is that of the spectrum 1 / j and that of a flat one, and no small one."""
    n, rank, count = 60, 12, 400
    expected = np.sqrt((n + 1) / rank if kind is gaussian_subspace else 1 - rank / n)

    @jax.jit
    def errors(rng, matrix):
        def one(key):
            made = reconstructed(oblivious_svd(matrix, kind(key, size=n, rank=rank)))
            return jnp.sum(jnp.square(matrix - made))

        square = jax.lax.map(one, jax.random.split(rng, count), batch_size=50)
        return square / jnp.sum(jnp.square(matrix))

    for values in (1.0 / np.arange(1.0, 61.0), np.ones(60)):
        matrix = with_spectrum(values, 70, n).astype(np.float32)
        square = np.asarray(errors(jax.random.key(5), matrix), np.float64)
        spread = 5.0 * square.std() / np.sqrt(count)
        assert abs(square.mean() - expected**2) < spread + 1e-5


def test_the_oblivious_forms_of_the_notes_are_these():
    """5.7, 3.8 and 2.5 for one draw; 0.981, 0.962 and 0.909 orthonormalised."""
    matrix = with_spectrum(1.0 / np.arange(1.0, 301.0), 400, 300).astype(np.float32)
    for rank, roots in ((10, (5.49, 0.983)), (20, (3.88, 0.966)), (50, (2.45, 0.913))):
        assert abs(np.sqrt(301 / rank) - roots[0]) < 6e-3
        assert abs(np.sqrt(1 - rank / 300) - roots[1]) < 6e-4
        for kind, root in zip(
            (gaussian_subspace, orthonormal_subspace), roots, strict=True
        ):
            found = oblivious_svd(matrix, kind(jax.random.key(1), size=300, rank=rank))
            assert 0.7 * root < relative_error(matrix, found) < 1.4 * root


def test_the_basis_is_orthonormal_also_of_a_matrix_of_less_rank():
    for matrix in (np.zeros((6, 5)), np.ones((6, 5))):
        basis = np.asarray(randomized_range(jax.random.key(0), matrix, size=4))
        np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-5)
        found = randomized_svd(jax.random.key(0), matrix, rank=5)
        np.testing.assert_allclose(reconstructed(found), matrix, atol=1e-5)


def test_leading_axes_jit_and_bfloat16(keys):
    matrix = np.random.default_rng(0).normal(size=(2, 3, 8, 6)).astype(jnp.bfloat16)
    key = next(keys)
    found = randomized_svd(key, matrix, rank=6, oversampling=0)
    assert [part.shape for part in found] == [(2, 3, 8, 6), (2, 3, 6), (2, 3, 6, 6)]
    assert found.s.dtype == jnp.float32
    np.testing.assert_allclose(reconstructed(found), matrix, atol=1e-4)
    want = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
    np.testing.assert_allclose(found.s, want, rtol=1e-4)
    subspace = orthonormal_subspace(key, size=6, rank=2)
    cut = reconstructed(oblivious_svd(matrix, subspace))
    want = np.asarray(matrix, float) @ np.asarray(subspace) @ np.asarray(subspace).T
    np.testing.assert_allclose(cut, want, atol=1e-4)


def test_what_does_not_fit_is_refused():
    key, matrix = jax.random.key(0), np.ones((4, 3))
    with pytest.raises(ValueError, match=r"matrix must be .* got \(3,\)"):
        randomized_svd(key, np.ones(3), rank=1)
    for rank in (0, 4):
        with pytest.raises(ValueError, match=rf"rank must lie in \[1, 3\].*got {rank}"):
            randomized_svd(key, matrix, rank=rank)
    with pytest.raises(ValueError, match=r"size must lie in \[1, 3\].*got 4"):
        randomized_range(key, matrix, size=4)
    with pytest.raises(ValueError, match="power must not be negative, got -1"):
        randomized_range(key, matrix, size=2, power=-1)
    with pytest.raises(ValueError, match=r"oversampling must not be .*got -1"):
        randomized_svd(key, matrix, rank=2, oversampling=-1)
    with pytest.raises(ValueError, match=r"rank must lie in \[1, size\], got 5 of 4"):
        gaussian_subspace(key, size=4, rank=5)
    with pytest.raises(ValueError, match=r"got \(4, 3\) and \(4, 2\)"):
        oblivious_svd(matrix, np.ones((4, 2)))
