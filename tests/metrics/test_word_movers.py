import jax
import numpy as np
import pytest

from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics import word_movers as module
from kexue_jax.metrics.costs import cosine_costs, euclidean_costs

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")
# The host, in float64 inside: with few problems of few words it needs no numba.
movers = jax.jit(lambda *a: module.word_movers_distance(*a, implementation="host"))
rotators = jax.jit(lambda *a: module.word_rotators_distance(*a, implementation="host"))
slopes = {f: jax.jit(jax.grad(f, (0, 1))) for f in (movers, rotators)}
word_centroid_bound = jax.jit(module.word_centroid_bound)
rotators_centroid_bound = jax.jit(module.rotators_centroid_bound)


@jax.jit
def relaxed_bounds(x, y, p, q):
    """Those of both distances."""
    even = [w / w.sum(-1, keepdims=True) for w in (p, q)]
    heavy = module.rotators_weights(x, p), module.rotators_weights(y, q)
    return (
        module.relaxed_bound(euclidean_costs(x, y), *even),
        module.relaxed_bound(cosine_costs(x, y), *heavy),
    )


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def texts(count=6, most=7, size=5):
    """Padded texts of 1 to `most` words, and their masks."""
    draws = np.random.default_rng(0)
    made = []
    for seed in range(2):
        words = draws.integers(1, most + 1, count)
        mask = (np.arange(most) < words[:, None]).astype(np.float32)
        made += [normal(count, most, size, seed=seed) + 0.5, mask]
    return made[0], made[2], made[1], made[3]


def slow(x, y, p, q, kind):
    """One pair, without padding, in float64."""
    x, y = (np.asarray(a, np.float64)[w > 0] for a, w in ((x, p), (y, q)))
    p, q = (np.asarray(w, np.float64)[w > 0] for w in (p, q))
    if kind == "rotators":
        sizes = [np.linalg.norm(a, axis=1) for a in (x, y)]
        p, q = p * sizes[0], q * sizes[1]
        x, y = x / sizes[0][:, None], y / sizes[1][:, None]
        cost = 1.0 - x @ y.T
    else:
        cost = np.linalg.norm(x[:, None] - y[None], axis=-1)
    plan, *_ = transport_simplex(cost[None], (p / p.sum())[None], (q / q.sum())[None])
    return (plan[0] * cost).sum()


@pytest.mark.parametrize("kind", ["movers", "rotators"])
def test_padded_texts_are_as_far_apart_as_without_padding(kind):
    x, y, p, q = texts()
    p = p * np.random.default_rng(1).uniform(0.5, 1.0, p.shape).astype(np.float32)
    found = {"movers": movers, "rotators": rotators}[kind](x, y, p, q)
    want = [slow(*one, kind) for one in zip(x, y, p, q, strict=True)]
    np.testing.assert_allclose(found, want, rtol=2e-6)


def test_the_fixture_and_single_words():
    x, y = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[1.0, 1.0]])
    assert movers(x, y).item() == pytest.approx((1 + 2**0.5) / 2, rel=1e-6)
    assert rotators(x, y).item() == pytest.approx(1 - 0.5**0.5, rel=1e-6)
    assert rotators(y, -y).item() == pytest.approx(2.0, rel=1e-6)


def test_every_bound_is_below():
    x, y, p, q = texts(count=50)
    far, turned = (np.asarray(f(x, y, p, q)) for f in (movers, rotators))
    assert (np.asarray(word_centroid_bound(x, y, p, q)) <= far + 1e-6).all()
    assert (np.asarray(rotators_centroid_bound(x, y, p, q)) <= turned + 1e-6).all()
    relaxed, relaxed_turned = map(np.asarray, relaxed_bounds(x, y, p, q))
    assert (relaxed <= far + 1e-6).all()
    assert (relaxed_turned <= turned + 1e-6).all()
    assert (relaxed > 0.5 * far).all()


def test_with_the_root_of_the_mean_square_the_bound_would_not_hold():
    draws = np.random.default_rng(0)
    x, y = (draws.normal(size=(n, 8)) for n in (5, 7))
    found = movers(x, y).item()
    assert found == pytest.approx(2.9809, abs=1e-4)
    bound = word_centroid_bound(x, y).item()
    assert bound == pytest.approx(1.5308, abs=1e-4)
    assert found / 8**0.5 < bound < found


def test_moving_turning_repeating_and_scaling():
    x, y = normal(5, 4), normal(6, 4, seed=1)
    turn, _ = np.linalg.qr(normal(4, 4, seed=2))
    far, turned = np.asarray(movers(x, y)), np.asarray(rotators(x, y))
    close = dict(rtol=1e-5)
    np.testing.assert_allclose(movers(x @ turn + 3.0, y @ turn + 3.0), far, **close)
    np.testing.assert_allclose(movers(2.0 * x, 2.0 * y), 2.0 * far, **close)
    np.testing.assert_allclose(movers(np.repeat(x, 3, 0), y), far, **close)
    np.testing.assert_allclose(movers(x[::-1], y), far, **close)
    np.testing.assert_allclose(
        rotators(5.0 * x @ turn, 0.1 * y @ turn), turned, **close
    )
    split = np.concatenate([x[:-1], 0.3 * x[-1:], 0.7 * x[-1:]])
    np.testing.assert_allclose(rotators(split, y), turned, **close)
    np.testing.assert_allclose(movers(x, y), movers(y, x), **close)
    np.testing.assert_allclose(rotators(x, y), rotators(y, x), **close)


def test_equal_texts_are_at_zero_with_gradients_that_are_finite():
    x = normal(4, 3)
    assert movers(x, x) == 0.0
    assert abs(rotators(x, x)) < 1e-6
    for distance in (movers, rotators):
        for slope in slopes[distance](x, x):
            assert np.isfinite(slope).all()


def test_one_word_moves_triangles_of_cosines_can_be_broken():
    a, b, c = (np.array([[np.cos(t), np.sin(t)]]) for t in (0.0, 0.7, 1.4))
    assert rotators(a, c) > rotators(a, b) + rotators(b, c) + 0.1
    assert movers(a, c) <= movers(a, b) + movers(b, c)


@pytest.mark.parametrize("kind", ["movers", "rotators"])
def test_gradients_are_those_of_the_distance(kind):
    distance = {"movers": movers, "rotators": rotators}[kind]
    with jax.enable_x64(True):
        draws = np.random.default_rng(1)
        x, y = (draws.normal(size=(n, 3)) for n in (4, 5))
        slope, _ = slopes[distance](x, y)
        way = draws.normal(size=x.shape)
        ends = [float(distance(x + h * way, y)) for h in (1e-5, -1e-5)]
        want = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(np.sum(np.asarray(slope) * way), want, rtol=1e-6)


def test_a_text_without_words_is_nowhere_and_zero_vectors_weigh_nothing():
    x, y, p, q = texts()
    assert np.isnan(movers(x, y, 0 * p, q)).all()
    assert np.isnan(rotators(0 * x, y, p, q)).all()
    more = np.concatenate([x[0], np.zeros((2, 5), np.float32)])
    np.testing.assert_allclose(rotators(more, y[0]), rotators(x[0], y[0]), rtol=1e-6)


def test_weights_that_do_not_fit_are_refused():
    x, y, p, _ = texts()
    with pytest.raises(ValueError, match="weights must be"):
        movers(x, y, p[:, :-1])
    with pytest.raises(ValueError, match="x and y must be"):
        movers(x, y[..., :-1])
    with pytest.raises(ValueError, match="cost, p and q must be"):
        module.relaxed_bound(np.ones((2, 3)), np.ones(3), np.ones(3))
