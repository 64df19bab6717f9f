import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from kexue_jax.metrics import correlation

average_ranks = jax.jit(correlation.average_ranks)
kendall = jax.jit(correlation.kendall)
pearson = jax.jit(correlation.pearson)
spearman = jax.jit(correlation.spearman)
ALL = {
    "pearson": (pearson, scipy.stats.pearsonr),
    "spearman": (spearman, scipy.stats.spearmanr),
    "kendall": (kendall, scipy.stats.kendalltau),
}


def lists(ties, size=40):
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(2, 3, size))
    y = y + 0.7 * x
    return (np.round(x), np.round(2.0 * y)) if ties else (x, y)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_it_is_that_of_scipy_with_and_without_ties(name, ties):
    ours, theirs = ALL[name]
    x, y = lists(ties)
    weight = np.random.default_rng(1).random(x.shape) < 0.7
    weight[1] = True
    with jax.enable_x64(True):
        hidden = [np.where(weight, a, np.nan) for a in (x, y)]
        found = np.asarray(ours(*hidden, weight))
    for at in range(3):
        want = theirs(x[at][weight[at]], y[at][weight[at]]).statistic
        np.testing.assert_allclose(found[at], want, rtol=1e-12)
    found = ours(x[1].astype(np.float32), y[1].astype(np.float32))
    np.testing.assert_allclose(found, theirs(x[1], y[1]).statistic, rtol=1e-5)


@pytest.mark.parametrize("ties", [False, True])
def test_ranks_are_those_of_scipy(ties):
    x, _ = lists(ties)
    x = x.astype(np.float32)
    want = scipy.stats.rankdata(x, axis=1)
    np.testing.assert_array_equal(average_ranks(x), want)


@pytest.mark.parametrize("name", ALL)
def test_a_whole_weight_counts_as_so_many_repetitions(name):
    ours, theirs = ALL[name]
    x, y = (a[0, :12] for a in lists(ties=True))
    weight = np.random.default_rng(2).integers(0, 4, 12)
    with jax.enable_x64(True):
        found = ours(x, y, weight)
    want = theirs(np.repeat(x, weight), np.repeat(y, weight)).statistic
    np.testing.assert_allclose(found, want, rtol=1e-12)


def test_ranks_with_weights_are_their_formula():
    x = np.array([2.0, 1.0, 2.0, -3.0, 7.0])
    weight = np.array([0.5, 2.0, 0.25, 0.0, 1.0])
    want = [weight[x < one].sum() + 0.5 * (1.0 + weight[x == one].sum()) for one in x]
    want[3] = 0.0
    found = average_ranks(x.astype(np.float32), weight.astype(np.float32))
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_pearson_with_weights_and_its_gradient_are_those_of_the_formula():
    x, y = (a[0, :9] for a in lists(ties=False))
    weight = np.random.default_rng(3).random(9)
    weight[4] = 0.0

    def formula(x):
        x, own = (a - np.average(a, weights=weight) for a in (x, y))
        parts = [np.sum(weight * a * b) for a, b in ((x, own), (x, x), (own, own))]
        return parts[0] / np.sqrt(parts[1] * parts[2])

    with jax.enable_x64(True):
        value, slope = jax.jit(jax.value_and_grad(pearson))(x, y, weight)
    np.testing.assert_allclose(value, formula(x), rtol=1e-12)
    steps = [formula(x + 1e-6 * e) - formula(x - 1e-6 * e) for e in np.eye(9)]
    np.testing.assert_allclose(slope, np.array(steps) / 2e-6, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_a_constant_and_too_few_values_have_no_correlation_and_gradients_of_0(name):
    function = jax.jit(jax.value_and_grad(ALL[name][0], (0, 1)))
    rises = np.arange(6, dtype=np.float32)
    even = np.ones_like(rises)
    for x, weight in (
        (np.float32(0.1) * even, even),
        (np.float32(3e7) * even, even),
        (rises, (rises == 2.0).astype(np.float32)),
        (np.nan * even, 0.0 * even),
    ):
        value, slopes = function(x, rises, weight)
        assert value == 0.0
        assert all(np.isfinite(slope).all() for slope in slopes)
    assert ALL[name][0](np.zeros((2, 0)), np.zeros((2, 0))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", ALL)
def test_values_of_any_size_and_dtype(name):
    function = ALL[name][0]
    x, y = (a[0].astype(np.float32) for a in lists(ties=False))
    pairs = (x, y), (1e25 * x, 1e-25 * y), (x, -y)
    found = [np.asarray(function(*pair)) for pair in pairs]
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], -found[0], rtol=1e-5)
    assert function(x.astype(jnp.bfloat16), np.arange(40)).dtype == jnp.float32


def test_ranks_do_not_know_by_how_much_and_have_no_slope():
    x, y = (a[0].astype(np.float32) for a in lists(ties=False))
    for function in (spearman, kendall):
        same = function(np.exp(x), np.square(y) * np.sign(y))
        np.testing.assert_allclose(same, function(x, y), rtol=1e-6)
        assert not np.any(jax.jit(jax.grad(function))(x, y))


def test_what_does_not_fit_is_refused():
    x = np.ones(3)
    for function, _ in ALL.values():
        with pytest.raises(ValueError, match=r"must both be \[..., N\], got \(3,\)"):
            function(x, np.ones(2))
        with pytest.raises(ValueError, match=r"weight must be \(3,\) as x and y are"):
            function(x, x, np.ones(2))
    with pytest.raises(ValueError, match=r"weight must be \(3,\) as x is"):
        average_ranks(x, np.ones(2))
    with pytest.raises(ValueError, match=r"x must be \[..., N\], got \(\)"):
        average_ranks(np.ones(()))
