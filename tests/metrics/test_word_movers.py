import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics import word_movers as module
from kexue_jax.metrics.costs import cosine_costs, euclidean_costs
from kexue_jax.metrics.word_movers import (
    relaxed_bound,
    rotators_centroid_bound,
    rotators_weights,
    word_centroid_bound,
)

pytestmark = pytest.mark.filterwarnings("ignore:optimal transport on the host")
# The host, in float64 inside: with few problems of few words it needs no numba.
movers = jax.jit(lambda *a: module.word_movers_distance(*a, implementation="host"))
rotators = jax.jit(lambda *a: module.word_rotators_distance(*a, implementation="host"))


def texts(keys, count=6, most=7, size=5):
    """Padded texts of 1 to `most` words, and their masks."""
    draws = np.random.default_rng(0)
    made = []
    for _ in range(2):
        words = draws.integers(1, most + 1, count)
        mask = jnp.asarray(np.arange(most) < words[:, None], jnp.float32)
        made += [jax.random.normal(next(keys), (count, most, size)) + 0.5, mask]
    return made[0], made[2], made[1], made[3]


def slow(x, y, p, q, kind):
    """One pair, without padding, in float64."""
    x, y = (np.asarray(a, np.float64)[np.asarray(w) > 0] for a, w in ((x, p), (y, q)))
    p, q = (np.asarray(w, np.float64)[np.asarray(w) > 0] for w in (p, q))
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
def test_padded_texts_are_as_far_apart_as_without_padding(kind, keys):
    x, y, p, q = texts(keys)
    p = p * jax.random.uniform(next(keys), p.shape, minval=0.5)
    found = {"movers": movers, "rotators": rotators}[kind](x, y, p, q)
    want = [slow(*one, kind) for one in zip(x, y, p, q, strict=True)]
    np.testing.assert_allclose(found, want, rtol=2e-6)


def test_the_fixture_and_single_words():
    x, y = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0, 1.0]])
    assert movers(x, y).item() == pytest.approx((1 + 2**0.5) / 2, rel=1e-6)
    assert rotators(x, y).item() == pytest.approx(1 - 0.5**0.5, rel=1e-6)
    assert rotators(y, -y).item() == pytest.approx(2.0, rel=1e-6)


def test_every_bound_is_below(keys):
    x, y, p, q = texts(keys, count=50)
    far, turned = movers(x, y, p, q), rotators(x, y, p, q)
    assert (word_centroid_bound(x, y, p, q) <= far + 1e-6).all()
    assert (rotators_centroid_bound(x, y, p, q) <= turned + 1e-6).all()
    even = [w / w.sum(-1, keepdims=True) for w in (p, q)]
    relaxed = relaxed_bound(euclidean_costs(x, y), *even)
    assert (relaxed <= far + 1e-6).all()
    heavy = rotators_weights(x, p), rotators_weights(y, q)
    assert (relaxed_bound(cosine_costs(x, y), *heavy) <= turned + 1e-6).all()
    assert (relaxed > 0.5 * far).all()


def test_with_the_root_of_the_mean_square_the_bound_would_not_hold():
    draws = np.random.default_rng(0)
    x, y = (jnp.asarray(draws.normal(size=(n, 8))) for n in (5, 7))
    found = movers(x, y).item()
    assert found == pytest.approx(2.9809, abs=1e-4)
    bound = word_centroid_bound(x, y).item()
    assert bound == pytest.approx(1.5308, abs=1e-4)
    assert found / 8**0.5 < bound < found


def test_moving_turning_repeating_and_scaling(keys):
    x, y = (jax.random.normal(next(keys), (n, 4)) for n in (5, 6))
    turn, _ = jnp.linalg.qr(jax.random.normal(next(keys), (4, 4)))
    far, turned = movers(x, y), rotators(x, y)
    close = dict(rtol=1e-5)
    np.testing.assert_allclose(movers(x @ turn + 3.0, y @ turn + 3.0), far, **close)
    np.testing.assert_allclose(movers(2.0 * x, 2.0 * y), 2.0 * far, **close)
    np.testing.assert_allclose(movers(jnp.repeat(x, 3, 0), y), far, **close)
    np.testing.assert_allclose(movers(x[::-1], y), far, **close)
    np.testing.assert_allclose(
        rotators(5.0 * x @ turn, 0.1 * y @ turn), turned, **close
    )
    split = jnp.concatenate([x[:-1], 0.3 * x[-1:], 0.7 * x[-1:]])
    np.testing.assert_allclose(rotators(split, y), turned, **close)
    np.testing.assert_allclose(movers(x, y), movers(y, x), **close)
    np.testing.assert_allclose(rotators(x, y), rotators(y, x), **close)


def test_equal_texts_are_at_zero_with_gradients_that_are_finite(keys):
    x = jax.random.normal(next(keys), (4, 3))
    assert movers(x, x) == 0.0
    assert abs(rotators(x, x)) < 1e-6
    for distance in (movers, rotators):
        for slope in jax.grad(distance, (0, 1))(x, x):
            assert np.isfinite(slope).all()


def test_one_word_moves_triangles_of_cosines_can_be_broken():
    a, b, c = (jnp.array([[np.cos(t), np.sin(t)]]) for t in (0.0, 0.7, 1.4))
    assert rotators(a, c) > rotators(a, b) + rotators(b, c) + 0.1
    assert movers(a, c) <= movers(a, b) + movers(b, c)


@pytest.mark.parametrize("kind", ["movers", "rotators"])
def test_gradients_are_those_of_the_distance(kind):
    distance = {"movers": movers, "rotators": rotators}[kind]
    with jax.enable_x64(True):
        draws = np.random.default_rng(1)
        x, y = (jnp.asarray(draws.normal(size=(n, 3))) for n in (4, 5))
        slope = jax.grad(distance)(x, y)
        way = draws.normal(size=x.shape)
        ends = [distance(x + h * way, y) for h in (1e-5, -1e-5)]
        want = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose(jnp.sum(slope * way), want, rtol=1e-6)


def test_a_text_without_words_is_nowhere_and_zero_vectors_weigh_nothing(keys):
    x, y, p, q = texts(keys)
    assert np.isnan(movers(x, y, 0 * p, q)).all()
    assert np.isnan(rotators(0 * x, y, p, q)).all()
    more = jnp.concatenate([x[0], jnp.zeros((2, 5))])
    np.testing.assert_allclose(rotators(more, y[0]), rotators(x[0], y[0]), rtol=1e-6)


def test_weights_that_do_not_fit_are_refused(keys):
    x, y, p, _ = texts(keys)
    with pytest.raises(ValueError, match="weights must be"):
        module.word_movers_distance(x, y, p[:, :-1])
    with pytest.raises(ValueError, match="x and y must be"):
        module.word_movers_distance(x, y[..., :-1])
    with pytest.raises(ValueError, match="cost, p and q must be"):
        relaxed_bound(jnp.ones((2, 3)), jnp.ones(3), jnp.ones(3))
