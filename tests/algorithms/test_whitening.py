from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from sklearn.decomposition import PCA

from kexue_jax.algorithms import whitening
from kexue_jax.algorithms.directions import directions
from kexue_jax.algorithms.whitening import covariance, empty_moments, fit, update

apply, merge = jax.jit(whitening.apply), jax.jit(whitening.merge)
ROWS, SIZE = 50, 6


def rows(offset=0.0, seed=0):
    """Vectors with a mean and a covariance of no special form."""
    draws = np.random.default_rng(seed)
    mix = draws.normal(size=(SIZE, SIZE))
    return draws.normal(size=(ROWS, SIZE)) @ mix + draws.normal(size=SIZE) + offset


@partial(jax.jit, static_argnames=("dtype", "block"))
def seen(x, weight=None, dtype=jnp.float64, block=16):
    return update(empty_moments(x.shape[-1], dtype), x, weight, block=block)


@partial(jax.jit, static_argnames=("k", "ddof", "dtype", "block"))
def fitted_on(x, k=None, *, dtype=jnp.float64, block=16, **options):
    return fit(seen(x, dtype=dtype, block=block), k, **options)


def cosines(y):
    y = y / np.linalg.norm(y, axis=1, keepdims=True)
    return y @ y.T


def whitened(x, k=None, **options):
    """Fitted on and applied to the same rows, in float64."""
    with jax.enable_x64(True):
        fitted = fitted_on(x, k, **options)
        return fitted, np.asarray(apply(fitted, x))


def test_moments_are_those_of_numpy_however_the_rows_come():
    x = rows()
    with jax.enable_x64(True):
        at_once = seen(x, block=ROWS)
        blocks = seen(x, block=7)
        parts = seen(x[:0])
        for part in (x[:1], x[1:20], x[20:20], x[20:]):
            parts = jax.jit(update)(parts, part)
        both = merge(seen(x[:13]), seen(x[13:]))
        leading = seen(x.reshape(5, 10, SIZE)[:, ::-1])
        unbiased = jax.jit(partial(covariance, ddof=1))(at_once)
    for found in (at_once, blocks, parts, both, leading):
        assert float(found.weight) == ROWS
        np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-12)
        np.testing.assert_allclose(
            np.asarray(found.scatter) / ROWS,
            np.cov(x.T, ddof=0),
            rtol=1e-12,
            atol=1e-12,
        )
    np.testing.assert_allclose(unbiased, np.cov(x.T), rtol=1e-12, atol=1e-12)


def test_the_streaming_recursion_of_the_post_ends_at_the_same_moments():
    x = rows()
    mean, spread = x[0], np.zeros((SIZE, SIZE))
    for n, one in enumerate(x[1:], start=1):
        second = n / (n + 1) * (spread + np.outer(mean, mean))
        second = second + np.outer(one, one) / (n + 1)
        mean = n / (n + 1) * mean + one / (n + 1)
        spread = second - np.outer(mean, mean)
    with jax.enable_x64(True):
        found = seen(x)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(
        np.asarray(found.scatter) / ROWS, spread, rtol=1e-10, atol=1e-10
    )


def test_weights_repeat_rows_and_rows_without_weight_are_not_read():
    x = rows()
    weight = np.random.default_rng(1).integers(0, 3, ROWS)
    hidden = np.where(weight[:, None] > 0, x, np.nan)
    with jax.enable_x64(True):
        found = seen(hidden, weight)
        want = seen(np.repeat(x, weight, axis=0))
        masked = seen(hidden, weight > 0)
        same = seen(x[weight > 0])
    for a, b in ((found, want), (masked, same)):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_moments_of_all_devices_are_those_of_all_rows():
    x = rows(offset=100.0)[:48].reshape(8, 6, SIZE)
    keep = np.arange(8)[:, None] != 3  # a device without rows
    keep = np.broadcast_to(keep, (8, 6))
    with jax.enable_x64(True):
        want = seen(x, keep)

        def own(x, keep):
            return whitening.merge_over(seen(x, keep), "data")

        mapped = jax.pmap(own, axis_name="data")(x, keep)
        found = jax.jit(jax.vmap(own, axis_name="data"))(x, keep)
    mapped, found = jax.device_get((mapped, found))
    for device in (0, 3, 7):
        for one, other, third in zip(mapped, found, want, strict=True):
            np.testing.assert_allclose(one[device], third, rtol=1e-12, atol=1e-11)
            np.testing.assert_allclose(other[device], third, rtol=1e-12, atol=1e-11)


def test_a_mean_far_from_0_costs_no_digits_in_float32():
    x = rows(offset=1e4).astype(np.float32)
    want = np.cov(x.astype(np.float64).T, ddof=0)
    found = jax.jit(lambda x: covariance(seen(x, dtype=jnp.float32, block=9)))(x)
    top = np.abs(want).max()
    assert np.abs(found - want).max() < 1e-5 * top
    plain = (x.T @ x) / ROWS - np.outer(x.mean(0), x.mean(0))
    assert np.abs(plain - want).max() > 0.1 * top  # what subtracting squares gives


def test_what_comes_out_has_mean_0_and_the_identity_as_covariance():
    fitted, y = whitened(rows(), ddof=1)
    assert fitted.rank == SIZE
    np.testing.assert_allclose(y.mean(0), np.zeros(SIZE), atol=1e-12)
    np.testing.assert_allclose(np.cov(y.T), np.eye(SIZE), atol=1e-12)


@pytest.mark.parametrize("k", [SIZE, 2])
def test_it_is_the_whitened_pca_of_scikit_learn_also_in_signs(k):
    x = rows()
    fitted, y = whitened(x, k, ddof=1)
    theirs = PCA(k, whiten=True, svd_solver="full").fit(x)
    np.testing.assert_allclose(y, theirs.transform(x), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fitted.variance, theirs.explained_variance_, rtol=1e-10)


def test_cosines_do_not_change_with_an_affine_map_the_order_or_ddof():
    x = rows()
    draws = np.random.default_rng(2)
    moved = x @ draws.normal(size=(SIZE, SIZE)) + 10.0 * draws.normal(size=SIZE)
    order = draws.permutation(ROWS)
    want = cosines(whitened(x)[1])
    np.testing.assert_allclose(cosines(whitened(moved)[1]), want, atol=1e-10)
    np.testing.assert_allclose(cosines(whitened(x, ddof=1)[1]), want, atol=1e-12)
    with jax.enable_x64(True):
        fitted = fitted_on(x[order])
        single = np.stack([apply(fitted, one) for one in x[:3]])
    np.testing.assert_allclose(single, whitened(x)[1][:3], rtol=1e-9, atol=1e-11)


def test_without_mean_and_scaling_it_only_turns():
    x = rows()
    _, y = whitened(x, beta=0.0, gamma=0.0)
    np.testing.assert_allclose(cosines(y), cosines(x), atol=1e-14)
    norms = [np.linalg.norm(a, axis=1) for a in (x, y)]
    np.testing.assert_allclose(*norms, rtol=1e-12)


@pytest.mark.parametrize(("beta", "gamma"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_the_general_form_is_its_formula(beta, gamma):
    x = rows()
    fitted, y = whitened(x, 3, beta=beta, gamma=gamma)
    shifted = x - beta * x.mean(0)
    variance, columns = np.linalg.eigh(shifted.T @ shifted / ROWS)
    variance, columns = variance[::-1][:3], columns[:, ::-1][:, :3]
    want = shifted @ columns * variance ** (-gamma / 2)
    sign = np.sign(np.sum(want * y, axis=0))
    np.testing.assert_allclose(y, want * sign, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(fitted.variance, variance, rtol=1e-10)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_components_without_variance_are_zeros_and_counted(dtype):
    draws = np.random.default_rng(3)
    flat = draws.normal(size=(40, 3)) @ draws.normal(size=(3, 20)) + 5.0
    few = np.repeat(draws.normal(size=(4, 20)), 3, axis=0)
    for x in (flat, few):
        with jax.enable_x64(dtype == jnp.float64):
            x = x.astype(dtype)
            fitted = fitted_on(x, dtype=dtype)
            y = apply(fitted, x)
        assert fitted.kernel.dtype == y.dtype == dtype
        assert fitted.rank == 3
        assert not np.asarray(fitted.kernel)[:, 3:].any()
        spread = np.cov(np.asarray(y, np.float64)[:, :3].T, ddof=0)
        np.testing.assert_allclose(spread, np.eye(3), atol=1e-4)


@pytest.mark.parametrize("size", [64, 256])
def test_what_rounding_makes_of_0_is_below_the_tolerance(size):
    draws = np.random.default_rng(4)
    x = draws.normal(size=(4 * size, size // 2)) @ draws.normal(size=(size // 2, size))
    x = (x + 3.0).astype(np.float32)
    fitted = fitted_on(x, dtype=jnp.float32, block=100)
    assert fitted.rank == size // 2


def test_one_row_or_none_gives_zeros_and_no_nan():
    def total(x, fitted):
        return jnp.sum(directions(apply(fitted, x)))

    for count in (0, 1):
        moments = seen(np.ones((count, 3), np.float32), dtype=jnp.float32)
        fitted = jax.jit(fit, static_argnames="k")(moments, k=2)
        assert fitted.rank == 0
        assert not np.asarray(fitted.kernel).any()
        spread = jax.jit(partial(covariance, ddof=1))(moments)
        assert not np.asarray(spread).any()
        value, slope = jax.jit(jax.value_and_grad(total))(np.ones((2, 3)), fitted)
        assert value == 0.0
        assert not np.asarray(slope).any()


def test_gradients_pass_through_apply_and_not_through_fit():
    x = rows().astype(np.float32)

    def total(seen_before, applied_to):
        fitted = fitted_on(seen_before, dtype=jnp.float32)
        return jnp.sum(jnp.square(apply(fitted, applied_to)[:1]))

    fixed, moved = jax.jit(jax.grad(total, (0, 1)))(x, x)
    assert not np.asarray(fixed).any()
    assert np.asarray(moved)[0].any()
    narrow = apply(fitted_on(x, dtype=jnp.float32), x.astype(jnp.bfloat16))
    assert narrow.dtype == jnp.float32


def test_what_does_not_fit_is_refused():
    moments = empty_moments(3)
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        empty_moments(0)
    with pytest.raises(ValueError, match=r"x must be \[..., 3\] as the moments are"):
        update(moments, np.ones((2, 4)))
    with pytest.raises(ValueError, match=r"weight must be \(2,\) as x is, got \(3,\)"):
        update(moments, np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        update(moments, np.ones((2, 3)), block=0)
    with pytest.raises(ValueError, match="k must be from 1 to 3, got 4"):
        fit(moments, 4)
    with pytest.raises(ValueError, match="p and q must be moments of vectors of one"):
        merge(moments, empty_moments(2))
    with pytest.raises(ValueError, match=r"x must be \[..., 3\] as the whitening is"):
        apply(jax.jit(fit)(moments), np.ones(4))


def test_rows_of_any_number_are_moved_in_blocks_and_so_are_their_slopes():
    """None, one block, and blocks of which the last reaches back."""
    draws = np.random.default_rng(0)
    fitted = fit(update(empty_moments(3), draws.normal(size=(9, 3))), 2)
    rows = 2 * whitening.BLOCK + 7
    x, way = draws.normal(size=(2, rows, 3)).astype(np.float32) + 2.0
    mean, kernel, *_ = map(np.asarray, fitted)
    for count in (0, 1, whitening.BLOCK, rows):
        found = jax.jit(whitening.apply)(fitted, x[:count])
        np.testing.assert_allclose(found, (x[:count] - mean) @ kernel, atol=1e-5)

    def total(x, mean, kernel):
        moved = whitening.apply(fitted._replace(mean=mean, kernel=kernel), x)
        return jnp.sum(moved * way[:, :2])

    slopes = jax.jit(jax.grad(total, (0, 1, 2)))(x, mean, kernel)
    wide = way[:, :2].astype(np.float64)
    want = wide @ kernel.T, -(wide @ kernel.T).sum(0), (x - mean).T @ wide
    for found, exact in zip(slopes, want, strict=True):
        np.testing.assert_allclose(found, exact, rtol=1e-4, atol=2e-3)


def test_rows_that_are_split_over_devices_by_type_stay_where_they_are():
    x = np.random.default_rng(0).normal(size=(8, 5, 3)).astype(np.float32)
    fitted = fit(update(empty_moments(3), x), 2)
    mesh = jax.make_mesh((8,), ("x",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        split = jax.device_put(x, P("x"))
        found = jax.jit(whitening.apply)(fitted, split)
        assert jax.typeof(found).sharding.spec == P("x", None, None)
    want = (x - np.asarray(fitted.mean)) @ np.asarray(fitted.kernel)
    np.testing.assert_allclose(found, want, atol=1e-5)
