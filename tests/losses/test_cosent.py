import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from kexue_jax.algorithms.nearest import cosine_similarity
from kexue_jax.losses.cosent import cosent, cosent_dense

FORMS = [cosent, cosent_dense]
VALUE = {f: jax.jit(f) for f in FORMS}
SLOPED = {f: jax.jit(jax.value_and_grad(f)) for f in FORMS}


def literal(s, y, scale=20.0, keep=None):
    """The formula of the docstring, term by term, and its gradient."""
    total, slope = 1.0, np.zeros(len(s))
    for a in range(len(s)):
        for b in range(len(s)):
            if y[a] < y[b] and (keep is None or keep[a, b]):
                term = np.exp(scale * (s[a] - s[b]))
                total += term
                slope[a] += scale * term
                slope[b] -= scale * term
    return np.log(total), slope / total


def pairs(kind, size=24):
    draws = np.random.default_rng(0)
    s = draws.uniform(-1.0, 1.0, size)
    if kind == "binary":
        return s, (draws.random(size) < 0.3).astype(np.int32)
    if kind == "graded":
        return s, draws.integers(0, 6, size).astype(np.float64)
    if kind == "ties":
        return np.round(3.0 * s) / 3.0, draws.integers(0, 3, size)
    return s, draws.normal(size=size)


def evaluated(function, s, y, *args, **options):
    """Value and gradient in float64."""
    with jax.enable_x64(True):
        return jax.device_get(SLOPED[function](s, y, *args, **options))


@pytest.mark.parametrize("kind", ["binary", "graded", "ties", "continuous"])
@pytest.mark.parametrize("function", FORMS)
def test_value_and_gradient_are_those_of_the_formula(function, kind):
    s, y = pairs(kind)
    value, slope = evaluated(function, s, y)
    want, want_slope = literal(s, y)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(slope, want_slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("function", FORMS)
def test_small_batches_have_the_values_that_were_worked_out(function):
    s, y = np.array([0.9, 0.2, 0.5, 0.7]), np.array([1, 0, 0, 1])
    with jax.enable_x64(True):
        loss = VALUE[function]
        batches = (s, y), (1.0 - s, y), (0.0 * s, y), (s, 0 * y)
        found = [loss(*batch) for batch in batches]
        start = loss(np.full(32, 0.3), np.arange(32) < 16)
    want = [0.0185246865434, 14.0206264276, np.log(5.0), 0.0]
    np.testing.assert_allclose(found, want, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(start, 5.5490760849, rtol=1e-10)


def test_it_is_the_published_code_on_rows_two_by_two():
    draws = np.random.default_rng(1)
    x, y = draws.normal(size=(2, 12, 5)), draws.integers(0, 2, 12)
    unit = x / np.linalg.norm(x, axis=2, keepdims=True)
    s = 20.0 * np.sum(unit[0] * unit[1], axis=1)
    lower = (y[:, None] < y[None, :]).astype(float)
    terms = s[:, None] - s[None, :] - (1.0 - lower) * 1e12
    want = logsumexp(np.append(terms.ravel(), 0.0))
    u, v = x.astype(np.float32)
    found = jax.jit(lambda u, v: cosent(cosine_similarity(u, v), y))(u, v)
    np.testing.assert_allclose(found, want, rtol=1e-5)


def test_with_two_classes_it_is_the_unified_loss_of_the_circle_loss_paper():
    s, y = pairs("binary")
    # Its formula (1) with gamma = 20 and m = 0, all pairs of positives and negatives.
    negative, positive = 20.0 * s[y == 0], 20.0 * s[y == 1]
    circle = np.log1p(np.exp(negative[:, None] - positive[None, :]).sum())
    factors = np.logaddexp(0.0, logsumexp(negative) + logsumexp(-positive))
    np.testing.assert_allclose(evaluated(cosent, s, y)[0], circle, rtol=1e-12)
    np.testing.assert_allclose(factors, circle, rtol=1e-12)


def test_a_score_of_0_between_two_classes_makes_it_the_multi_label_loss():
    s, y = pairs("binary")
    negative, positive = s[y == 0], s[y == 1]
    want = np.log1p(np.exp(negative).sum()) + np.log1p(np.exp(-positive).sum())
    found, _ = evaluated(cosent, np.append(s, 0.0), np.append(2 * y, 1), scale=1.0)
    np.testing.assert_allclose(found, want, rtol=1e-12)


@pytest.mark.parametrize("function", FORMS)
def test_only_differences_of_scores_and_the_order_of_labels_count(function):
    s, y = pairs("graded")
    order = np.random.default_rng(2).permutation(len(s))
    with jax.enable_x64(True):
        loss = VALUE[function]
        same = [
            loss(s, y),
            loss(s + 0.7, y),
            loss(s[order], y[order]),
            loss(s, np.exp(3.0 * y)),
        ]
    np.testing.assert_allclose(same, same[0], rtol=1e-12)


@pytest.mark.parametrize("function", FORMS)
def test_a_great_scale_leaves_the_worst_pair_and_a_margin_bounds_the_loss(function):
    s, y = pairs("continuous")
    worst = max(s[a] - s[b] for a in range(24) for b in range(24) if y[a] < y[b])
    for scale in (1e4, 1e7):
        value, slope = evaluated(function, s, y, scale=scale)
        np.testing.assert_allclose(float(value) / scale, worst, rtol=1e-3)
        assert np.isfinite(slope).all()
    ordered = 0.05 * np.argsort(np.argsort(y))
    value, slope = evaluated(function, ordered, y, scale=100.0)
    count = 24 * 23 / 2
    assert 0.0 < float(value) <= count * np.exp(-100.0 * 0.05)
    np.testing.assert_allclose(value, literal(ordered, y, 100.0)[0], rtol=1e-9)
    value, slope = evaluated(function, ordered, y, scale=1e6)
    assert float(value) == 0.0
    assert not np.any(slope)


def test_a_tiny_loss_keeps_its_digits_in_float32():
    s, y = np.array([1.0, 0.0], np.float32), np.array([1, 0])
    for function in FORMS:
        value, slope = jax.device_get(SLOPED[function](s, y, scale=40.0))
        np.testing.assert_allclose(value, np.exp(-40.0), rtol=1e-5)
        np.testing.assert_allclose(slope[1], 40.0 * np.exp(-40.0), rtol=1e-5)


@pytest.mark.parametrize("function", FORMS)
def test_hidden_pairs_are_not_read(function):
    s, y = pairs("graded")
    mask = np.random.default_rng(3).random(24) < 0.6
    value, slope = evaluated(function, np.where(mask, s, np.nan), y, mask)
    want, want_slope = literal(s[mask], y[mask])
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(slope[mask], want_slope, rtol=1e-10, atol=1e-12)
    assert not slope[~mask].any()


def test_comparisons_may_be_left_out_of_the_dense_form():
    s, y = pairs("graded")
    group = np.arange(24) // 6  # texts are compared with those of their query alone
    keep = group[:, None] == group[None, :]
    with jax.enable_x64(True):
        value, slope = SLOPED[cosent_dense](s, y, comparisons=keep)
    want, want_slope = literal(s, y, keep=keep)
    np.testing.assert_allclose(value, want, rtol=1e-12)
    np.testing.assert_allclose(slope, want_slope, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("function", FORMS)
def test_where_nothing_is_to_be_ordered_value_and_gradient_are_zero(function):
    rises = np.arange(3)
    for s, y, *mask in (
        ([0.1, 0.9, -0.4], 0 * rises + 1, rises < 3),
        ([np.nan] * 3, rises, rises < 0),
        ([0.1, np.inf, -0.4], rises, rises < 1),
        ([0.3], rises[1:2]),
    ):
        found = SLOPED[function](np.array(s, np.float32), y, *mask)
        value, slope = jax.device_get(found)
        assert value == 0.0
        assert not slope.any()
    assert float(VALUE[function](np.zeros(0), np.zeros(0))) == 0.0


@pytest.mark.parametrize("function", FORMS)
def test_scores_of_any_dtype_and_second_derivatives(function):
    s, y = pairs("ties", 8)
    narrow = s.astype(jnp.bfloat16)
    value, slope = SLOPED[function](narrow, y)
    assert value.dtype == jnp.float32
    assert slope.dtype == jnp.bfloat16
    want, _ = literal(narrow.astype(np.float64), y)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    with jax.enable_x64(True):
        curve = jax.jit(jax.hessian(function))(s, y)
    steps = [
        literal(s + 1e-6 * e, y)[1] - literal(s - 1e-6 * e, y)[1] for e in np.eye(8)
    ]
    np.testing.assert_allclose(curve, np.array(steps) / 2e-6, rtol=1e-5, atol=1e-6)


def test_split_over_devices_under_jit_all_pairs_are_compared():
    s, y = pairs("graded")
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    place = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    parts = [jax.device_put(a.astype(np.float32), place) for a in (s, y)]
    value, slope = SLOPED[cosent](*parts)
    want, want_slope = literal(s, y)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    np.testing.assert_allclose(slope, want_slope, rtol=1e-4, atol=1e-4)


def test_no_array_of_all_comparisons_is_made():
    shapes = [jax.ShapeDtypeStruct((1024,), jnp.float32)] * 2
    loss = jax.jit(jax.grad(cosent)).lower(*shapes).compile()
    assert loss.memory_analysis().temp_size_in_bytes < 1024 * 1024


@pytest.mark.parametrize("function", FORMS)
def test_what_does_not_fit_is_refused(function):
    s = np.ones(3, np.float32)
    with pytest.raises(ValueError, match=r"must both be \[B\], got \(3,\) and \(2,\)"):
        function(s, np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"must both be \[B\]"):
        function(np.ones((3, 1), np.float32), np.ones((3, 1), np.float32))
    with pytest.raises(ValueError, match=r"mask must be bool \(3,\), got float32"):
        function(s, s, s)


def test_comparisons_that_do_not_fit_are_refused():
    s = np.ones(3)
    with pytest.raises(ValueError, match=r"comparisons must be bool \(3, 3\)"):
        VALUE[cosent_dense](s, s, comparisons=np.ones((3, 2), bool))
