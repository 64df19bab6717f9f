import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax import losses

SIZE, FEATURES, CLASSES = 7, 3, 3


def cosines():
    draws = np.random.default_rng(0)
    c = draws.uniform(-1.0, 1.0, SIZE)
    c[:2] = 0.7, 0.95  # at a margin and beyond one
    return c, np.array([0, 1, 0, 1, 1, 0, 0]), np.arange(SIZE) != 4


def of(name, c, t):
    """The formula of each docstring, for one pair."""
    return {
        "linear_cosine_loss": t * (1 - c) + (1 - t) * (1 + c),
        "squared_cosine_loss": t * (1 - c) ** 2 + (1 - t) * c**2,
        "cosine_embedding_loss": t * (1 - c) + (1 - t) * max(c - 0.7, 0),
        "cosine_margins_loss": t * max(0.9 - c, 0) + (1 - t) * max(c - 0.1, 0),
        "cosine_regression_loss": (c - t) ** 2,
    }[name]


OF_COSINES = [
    "linear_cosine_loss",
    "squared_cosine_loss",
    "cosine_embedding_loss",
    "cosine_margins_loss",
    "cosine_regression_loss",
]


SLOPED = {
    name: jax.jit(jax.value_and_grad(getattr(losses, name))) for name in OF_COSINES
}


@pytest.mark.parametrize("name", OF_COSINES)
def test_a_loss_of_cosines_is_the_mean_of_its_formula(name):
    c, t, mask = cosines()
    loss = SLOPED[name]
    with jax.enable_x64(True):
        value, _ = loss(c, t)
        hidden, slope = jax.device_get(loss(np.where(mask, c, np.nan), t, mask))
    single = np.array([of(name, *pair) for pair in zip(c, t, strict=True)])
    np.testing.assert_allclose(value, single.mean(), rtol=1e-12)
    np.testing.assert_allclose(hidden, single[mask].mean(), rtol=1e-12)
    assert np.isfinite(slope).all()
    assert float(slope[4]) == 0.0


@pytest.mark.parametrize("name", OF_COSINES)
def test_without_pairs_a_loss_is_0_and_narrow_cosines_are_widened(name):
    loss, ones = SLOPED[name], np.ones(2, np.float32)
    value, slope = jax.device_get(loss(np.nan * ones, ones, np.zeros(2, bool)))
    assert value == 0.0
    assert not slope.any()
    value, slope = loss(ones.astype(jnp.bfloat16), ones)
    assert (value.dtype, slope.dtype) == (jnp.float32, jnp.bfloat16)
    with pytest.raises(ValueError, match=r"must both be \[B\], got \(2,\) and \(3,\)"):
        loss(ones, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="mask must be bool"):
        loss(ones, ones, ones)


def test_the_two_other_forms_of_the_post():
    c, t, _ = cosines()
    with jax.enable_x64(True):
        other = jax.jit(losses.squared_cosine_loss, static_argnames="target")
        opposite = other(c, t, target=-1.0)
        own, slope = jax.device_get(SLOPED["cosine_embedding_loss"](c, t))
    want = np.mean(t * (c - 1) ** 2 + (1 - t) * (c + 1) ** 2)
    np.testing.assert_allclose(opposite, want, rtol=1e-12)
    # With max(c, 0.7) each unlike pair costs 0.7 more, and nothing else changes.
    clipped = t * (1 - c) + (1 - t) * np.maximum(c, 0.7)
    np.testing.assert_allclose(own, np.mean(clipped - 0.7 * (1 - t)), rtol=1e-12)
    steady = (t == 0) & (c < 0.7)
    assert steady.any()
    assert not slope[steady].any()


def vectors():
    draws = np.random.default_rng(1)
    u, v, w = draws.normal(size=(3, SIZE, FEATURES))
    v[2] = u[2]
    kernel = draws.normal(size=(3 * FEATURES, CLASSES))
    return u, v, w, kernel, draws.integers(0, CLASSES, SIZE)


def test_the_classifier_of_pairs_is_softmax_of_its_features():
    u, v, _, kernel, label = vectors()
    mask = np.arange(SIZE) != 1
    single = []
    for at in range(SIZE):
        logits = np.concatenate([u[at], v[at], np.abs(u[at] - v[at])]) @ kernel
        single.append(np.log(np.exp(logits).sum()) - logits[label[at]])
    u[1], label[1] = np.nan, -100
    with jax.enable_x64(True):
        loss = jax.jit(jax.value_and_grad(losses.pair_classification_loss, (0, 1, 3)))
        value, slopes = loss(u, v, label, kernel, mask)
    np.testing.assert_allclose(value, np.array(single)[mask].mean(), rtol=1e-12)
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_features_of_equal_vectors_have_gradients_through_the_vectors_alone():
    @jax.jit
    def pulled(u, v):
        features, pull = jax.vjp(losses.pair_features, u, v)
        return features, pull(jnp.ones_like(features))

    u = np.array([[1.0, -2.0]], jnp.bfloat16)
    features, slopes = jax.device_get(pulled(u, u))
    assert features.tolist() == [[1.0, -2.0, 1.0, -2.0, 0.0, 0.0]]
    assert features.dtype == jnp.float32
    assert all((slope == 1.0).all() for slope in slopes)


def test_the_loss_of_triplets_is_the_hinge_of_distances():
    a, p, n, *_ = vectors()
    near, far = (np.linalg.norm(a - x, axis=1) for x in (p, n))
    single = np.maximum(near - far + 1.0, 0.0)
    mask = np.arange(SIZE) != 3
    n[3] = np.nan
    with jax.enable_x64(True):
        loss = jax.jit(jax.value_and_grad(losses.triplet_loss, (0, 1, 2)))
        value, slopes = loss(a, p, n, mask)
        same, still = jax.device_get(loss(*[np.ones((2, 3))] * 3))
    np.testing.assert_allclose(value, single[mask].mean(), rtol=1e-12)
    assert all(np.isfinite(slope).all() for slope in slopes)
    assert same == 1.0
    assert not any(slope.any() for slope in still)


def test_vectors_that_do_not_fit_are_refused():
    u, kernel, label = np.ones((2, 3)), np.ones((9, 4)), np.zeros(2, np.int32)
    with pytest.raises(ValueError, match="u and v must both be"):
        losses.pair_features(u, u[:1])
    with pytest.raises(ValueError, match="u, v and label must be"):
        losses.pair_classification_loss(u, u, label[:1], kernel)
    with pytest.raises(ValueError, match=r"kernel must be \[9, C\], got \(6, 4\)"):
        losses.pair_classification_loss(u, u, label, kernel[:6])
    with pytest.raises(ValueError, match="anchor, positive and negative must all"):
        losses.triplet_loss(u, u, u[:, :2])
