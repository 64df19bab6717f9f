import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.special

from kexue_jax.attention import nystrom, softmax

iterative_pinv = jax.jit(nystrom.iterative_pinv, static_argnames="iterations")
landmark_attention = jax.jit(nystrom.landmark_attention, static_argnames="landmarks")
landmark_means = jax.jit(nystrom.landmark_means, static_argnames="landmarks")
nystrom_attention, nystrom_matrix = (
    jax.jit(f, static_argnames=("landmarks", "iterations", *more))
    for f, *more in (
        (nystrom.nystrom_attention, "is_causal"),
        (nystrom.nystrom_matrix,),
    )
)
depthwise_convolution = jax.jit(nystrom.depthwise_convolution)
softmax_attention = jax.jit(softmax.softmax_attention)


def normal(*shapes, seed=0):
    draws = np.random.default_rng(seed)
    return [draws.normal(size=shape).astype(np.float32) for shape in shapes]


def inputs(length=12, size=4, **seed):
    shapes = (2, length, 2, size), (2, length, 2, size), (2, length, 2, 3)
    return normal(*shapes, **seed)


@functools.partial(jax.jit, static_argnums=0)
def with_gradients(f, *arrays):
    out, pull = jax.vjp(f, *arrays)
    return out, pull(jnp.ones_like(out))


def slow(query, key, value, keep, *, landmarks, iterations=6, middle=True):
    """Head by head in float64, with runs made by numpy.array_split's rule or lists."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, length, heads, size = query.shape
    keep = np.broadcast_to(keep, (batch, heads, 1, length))
    out = np.zeros((*query.shape[:-1], value.shape[-1]))
    for b, n in np.ndindex(batch, heads):
        kept = keep[b, n, 0]
        starts = [i * length // landmarks for i in range(landmarks + 1)]
        runs = [np.arange(*ends) for ends in itertools.pairwise(starts)]
        runs = [run[kept[run]] for run in runs if kept[run].any()]
        if not runs:
            continue
        q, k, v = (x[b, :, n] for x in (query, key, value))
        q_means, k_means = (np.stack([x[run].mean(0) for run in runs]) for x in (q, k))

        def weights(a, b):
            return scipy.special.softmax(a @ b.T / np.sqrt(size), axis=-1)

        first, last = weights(q, k_means), weights(q_means, k[kept])
        a = weights(q_means, k_means)
        z = a.T / np.abs(a).sum(0).max() / np.abs(a).sum(1).max()
        for _ in range(iterations):
            z = (
                z
                @ (
                    13 * np.eye(len(a))
                    - a
                    @ z
                    @ (15 * np.eye(len(a)) - a @ z @ (7 * np.eye(len(a)) - a @ z))
                )
                / 4
            )
        out[b, :, n] = first @ (z if middle else np.eye(len(a))) @ last @ v[kept]
    return out


@pytest.mark.parametrize("length", [12, 14])
@pytest.mark.parametrize("attend", [nystrom_attention, landmark_attention])
def test_is_the_product_of_three_softmax_matrices(attend, length):
    q, k, v = inputs(length)
    mask = np.random.default_rng(1).random((2, 2, 1, length)) < 0.5
    mask[0, 0, 0, :6] = False  # landmarks without tokens
    for seen in (None, mask):
        got = attend(q, k, v, seen, landmarks=4)
        want = slow(
            q,
            k,
            v,
            np.ones((1, 1, 1, 1), bool) if seen is None else seen,
            landmarks=4,
            middle=attend is nystrom_attention,
        )
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=2e-5)


def test_a_step_makes_its_polynomial_of_the_error():
    a = scipy.special.softmax(2 * normal((3, 6, 6))[0], axis=-1)
    for n in range(4):
        before, after = (
            np.eye(6) - np.float64(a) @ np.float64(iterative_pinv(a, iterations=i))
            for i in (n, n + 1)
        )
        cube = before @ before @ before
        np.testing.assert_allclose(after, 0.75 * cube + 0.25 * cube @ before, atol=2e-5)


def test_reaches_the_inverse_of_a_matrix_with_a_heavy_diagonal():
    scores = normal((2, 16, 16))[0] + 5 * np.eye(16, dtype=np.float32)
    a = scipy.special.softmax(scores, axis=-1)
    assert np.linalg.cond(a).max() < 10
    got = iterative_pinv(a, iterations=8)
    np.testing.assert_allclose(got, np.linalg.pinv(a), rtol=1e-4, atol=1e-5)


def test_the_residual_of_a_harder_matrix_falls_with_every_step():
    u, v = (np.linalg.qr(x)[0] for x in normal((16, 16), (16, 16)))
    a = np.float32(u * np.geomspace(1, 1 / 3e3, 16) @ v)
    errors = []
    for n in (2, 4, 6, 8, 10):
        z = np.asarray(iterative_pinv(a, iterations=n))
        errors.append(np.linalg.norm(a @ z @ a - a))
    assert (np.diff(errors) < 0).all()
    assert errors[0] > 10 * errors[-1]


@pytest.mark.parametrize(
    "a", [np.zeros((3, 3)), np.ones((3, 3)), np.eye(3)[:, [0] * 3]]
)
def test_singular_matrices_have_finite_inverses_and_gradients(a):
    inverse = functools.partial(iterative_pinv, iterations=10)
    got, (slope,) = with_gradients(inverse, np.float32(a))
    np.testing.assert_allclose(got, np.linalg.pinv(a), atol=1e-4)
    assert np.isfinite(slope).all()


def test_as_many_landmarks_as_tokens_are_softmax_attention():
    q, k, v = inputs()
    want = softmax_attention(q, k, v)
    np.testing.assert_array_equal(nystrom_attention(q, k, v, landmarks=12), want)
    np.testing.assert_array_equal(nystrom_attention(q, k, v, landmarks=64), want)


@pytest.mark.slow
def test_the_three_matrices_of_all_tokens_need_enough_iterations():
    q, k, v = inputs(8, 8, seed=2)  # for every other seed six are enough
    q = q + 8 * k  # a heavy diagonal, hence easily inverted
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.float32(8**0.5)
    a = scipy.special.softmax(scores, axis=-1)
    want = softmax_attention(q, k, v)
    for iterations, near in ((6, False), (12, True)):
        z = iterative_pinv(a, iterations=iterations)
        got = np.einsum("bnts,bnsu,bnuw,bwnv->btnv", a, z, a, v)
        assert (np.abs(got - want).max() < 5e-5) == near


def test_equal_keys_give_the_mean_of_the_values_from_the_first_iterate():
    q, k, v = inputs()
    k = np.broadcast_to(k[:, :1], k.shape)
    want = np.broadcast_to(v.mean(1, keepdims=True), v.shape)
    for iterations in (0, 1, 6):
        got = nystrom_attention(q, k, v, landmarks=4, iterations=iterations)
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_equal_queries_give_softmax_attention_and_finite_gradients():
    q, k, v = inputs()
    q = np.broadcast_to(q[:, :1], q.shape)
    attend = functools.partial(nystrom_attention, landmarks=4, iterations=8)
    out, slopes = with_gradients(attend, q, k, v)
    np.testing.assert_allclose(out, softmax_attention(q, k, v), rtol=1e-3, atol=1e-4)
    assert all(np.isfinite(g).all() for g in slopes)


def test_landmarks_are_means_of_runs():
    x = inputs()[0]
    got = landmark_means(x, landmarks=4)
    np.testing.assert_allclose(got, x.reshape(2, 4, 3, 2, 4).mean(2), rtol=1e-5)
    got = landmark_means(x, landmarks=5)  # runs of 2, 2, 3, 2, 3 tokens
    ends = (0, 2, 4, 7, 9, 12)
    want = [x[:, i:j].mean(1) for i, j in itertools.pairwise(ends)]
    np.testing.assert_allclose(got, np.stack(want, 1), rtol=1e-5, atol=1e-6)


def test_tokens_of_a_run_may_change_places():
    q, k, v = inputs()
    order = np.array([2, 0, 1, 3, 4, 5, 8, 7, 6, 9, 11, 10])
    attend = functools.partial(nystrom_attention, landmarks=4)
    got = attend(*(x[:, order] for x in (q, k, v)))
    want = np.asarray(attend(q, k, v))[:, order]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_what_an_example_gets_does_not_depend_on_the_others():
    q, k, v = inputs()
    attend = functools.partial(nystrom_attention, landmarks=4)
    want = np.asarray(attend(q, k, v))
    q[1], k[1], v[1] = q[1] * 10.0, k[1] + 3.0, 0.0
    other = np.asarray(attend(q, k, v))
    np.testing.assert_allclose(other[0], want[0], rtol=1e-5, atol=1e-6)


def test_the_last_token_is_seen_by_the_first_query():
    q, k, v = inputs()
    attend = functools.partial(nystrom_attention, landmarks=4)
    added = np.float32(np.arange(12) == 11)[:, None, None]
    moved = np.asarray(attend(q, k, v + added)) - np.asarray(attend(q, k, v))
    assert np.abs(moved[:, 0]).min() > 1e-3
    with pytest.raises(ValueError, match="would show later tokens"):
        attend(q, k, v, is_causal=True)
    with pytest.raises(ValueError, match="would show later tokens"):
        nystrom_attention(q, k, v, landmarks=64, is_causal=True)


def test_rows_of_the_matrix_sum_to_one_only_without_the_middle_or_once_inverted():
    q, k, v = inputs()
    matrix = nystrom_matrix(q, k, landmarks=4)
    applied = np.einsum("bnts,bsnv->btnv", matrix, v)
    want = nystrom_attention(q, k, v, landmarks=4)
    np.testing.assert_allclose(applied, want, rtol=1e-4, atol=1e-5)
    rough = np.asarray(nystrom_matrix(q, k, landmarks=4, iterations=1)).sum(-1)
    assert np.abs(rough - 1).max() > 0.01
    plain = landmark_attention(q, k, np.ones_like(v), landmarks=4)
    np.testing.assert_allclose(plain, 1.0, rtol=1e-5)


@pytest.mark.slow
def test_smooth_sequences_need_the_middle_matrix():
    # A stationary walk of 512 tokens: 0.019 with the matrix and 0.15 without it.
    rng = np.random.default_rng(0)
    x = np.zeros((512, 64))
    x[0] = rng.normal(size=64)
    for t in range(1, 512):
        x[t] = 0.98 * x[t - 1] + np.sqrt(1 - 0.98**2) * rng.normal(size=64)
    x = np.float32(x)[None, :, None]
    want = np.asarray(softmax_attention(x, x, x))

    def error(got):
        return np.linalg.norm(got - want) / np.linalg.norm(want)

    with_middle = error(nystrom_attention(x, x, x))
    assert with_middle < 0.04
    assert error(landmark_attention(x, x, x)) > 3 * with_middle


def test_the_convolution_is_a_correlation_of_every_channel():
    value, kernel = normal((2, 9, 2, 3), (2, 5))
    got = np.asarray(depthwise_convolution(value, kernel))
    for b, n, c in np.ndindex(2, 2, 3):
        want = scipy.ndimage.correlate1d(
            np.float64(value[b, :, n, c]), np.float64(kernel[n]), mode="constant"
        )
        np.testing.assert_allclose(got[b, :, n, c], want, rtol=1e-5, atol=1e-6)


def test_gradients_of_the_convolution_are_those_of_the_convolution_of_jax():
    value, kernel, weight = normal((2, 9, 2, 3), (2, 5), (2, 9, 2, 3))

    def other(value, kernel):
        heads = jnp.moveaxis(value, 1, 3).swapaxes(1, 2).reshape(6, 2, 9)
        out = jax.lax.conv_general_dilated(
            heads, kernel[:, None], (1,), "SAME", feature_group_count=2
        )
        return jnp.moveaxis(out.reshape(2, 3, 2, 9).swapaxes(1, 2), 3, 1)

    got, want = (
        jax.jit(jax.grad(lambda *x, f=f: jnp.sum(f(*x) * weight), (0, 1)))(
            value, kernel
        )
        for f in (depthwise_convolution, other)
    )
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("landmarks", [4, 64])
def test_the_convolution_is_added_to_the_attention_and_hidden_values_not(
    landmarks,
):
    q, k, v = inputs()
    mask = (np.arange(12) != 3)[None, None, None]
    attend = functools.partial(nystrom_attention, landmarks=landmarks)
    unit = np.broadcast_to(np.eye(5, dtype=np.float32)[2], (2, 5))
    want = attend(q, k, v) + v
    got = attend(q, k, v, convolution=unit)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    got = attend(q, k, v, mask, convolution=unit)
    want = attend(q, k, v, mask) + np.where(mask[0, 0, 0, :, None, None], v, 0.0)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attend", [nystrom_attention, landmark_attention])
def test_without_visible_tokens_there_are_zeros_and_zero_gradients(attend):
    nothing = np.zeros((1, 1, 1, 12), bool)
    attend = functools.partial(attend, mask=nothing, landmarks=4)
    out, slopes = jax.device_get(with_gradients(attend, *inputs()))
    assert not out.any()
    assert not any(g.any() for g in slopes)


def test_one_token_gets_its_value():
    q, k, v = inputs(1)
    np.testing.assert_allclose(nystrom_attention(q, k, v), v, rtol=1e-6)


def test_bfloat16_keeps_its_dtype_under_vmap_and_stays_near_float32():
    q, k, v = (x.astype(jnp.bfloat16) for x in inputs())
    attend = functools.partial(
        nystrom_attention, landmarks=4, convolution=np.ones((2, 3), jnp.bfloat16)
    )
    got = jax.jit(jax.vmap(attend))(*(x[None] for x in (q, k, v)))[0]
    assert got.dtype == jnp.bfloat16
    want = attend(*(x.astype(np.float32) for x in (q, k, v)))
    np.testing.assert_allclose(np.float32(got), want, rtol=1e-2, atol=1e-2)


def test_what_does_not_fit_is_refused_by_name():
    q, k, v = inputs()
    with pytest.raises(ValueError, match="of the same tokens"):
        nystrom_attention(q[:, :3], k, v)
    with pytest.raises(ValueError, match="landmarks stand for all tokens"):
        nystrom_attention(q, k, v, np.ones((1, 1, 12, 12), bool), landmarks=4)
    with pytest.raises(ValueError, match="landmarks must be positive, got 0"):
        landmark_attention(q, k, v, landmarks=0)
    with pytest.raises(ValueError, match="from 1 to 12, got 13"):
        landmark_means(q, landmarks=13)
    with pytest.raises(ValueError, match="from 0 to 12, got 20"):
        nystrom_attention(q, k, v, landmarks=4, iterations=20)
    with pytest.raises(ValueError, match=r"\[\.\.\., M, M\], got \(2, 3\)"):
        iterative_pinv(np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"N = 2 and W odd, got \(2, 4\)"):
        nystrom_attention(q, k, v, convolution=np.ones((2, 4)))
