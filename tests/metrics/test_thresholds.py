import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from sklearn.metrics import accuracy_score, f1_score

from kexue_jax.metrics import thresholds
from kexue_jax.metrics.thresholds import predicted

accuracy_at = jax.jit(thresholds.accuracy_at)
best_accuracy_threshold = jax.jit(thresholds.best_accuracy_threshold)
best_f1_threshold = jax.jit(thresholds.best_f1_threshold)
f1_at = jax.jit(thresholds.f1_at)
SEARCHES = {
    "accuracy": (best_accuracy_threshold, accuracy_at, accuracy_score),
    "f1": (best_f1_threshold, f1_at, f1_score),
}


def scored(ties=False, size=30, seed=0):
    draws = np.random.default_rng(seed)
    labels = (draws.random(size) < 0.4).astype(np.int32)
    scores = draws.normal(size=size) + labels
    return (np.round(scores) if ties else scores).astype(np.float32), labels


def exhaustive(measure, scores, labels, **options):
    """The best over every way to part the scores, none of which parts equal ones."""
    cuts = [-np.inf, *np.unique(scores), np.inf]
    return max(measure(labels, scores >= cut, **options) for cut in cuts)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("name", SEARCHES)
def test_no_other_threshold_is_better_and_it_keeps_what_it_says(name, ties):
    search, at, measure = SEARCHES[name]
    for seed in range(20):
        scores, labels = scored(ties, seed=seed)
        threshold, value = search(scores, labels)
        best = exhaustive(
            measure,
            scores,
            labels,
            **({} if name == "accuracy" else {"zero_division": 0.0}),
        )
        np.testing.assert_allclose(value, best, rtol=1e-6)
        said = scores >= np.asarray(threshold)
        np.testing.assert_allclose(measure(labels, said), best, rtol=1e-6)
        again = at(scores, labels, threshold)
        np.testing.assert_allclose(again, value, rtol=1e-6)


@pytest.mark.parametrize("name", SEARCHES)
def test_weights_leading_axes_and_rows_that_only_fill_up(name):
    search, at, measure = SEARCHES[name]
    scores, labels = (
        np.stack(a) for a in zip(*[scored(True, seed=s) for s in (3, 4)], strict=True)
    )
    draws = np.random.default_rng(0)
    share = draws.random(scores.shape) * (draws.random(scores.shape) < 0.8)
    for weight in (share, share > 0.3, np.round(4.0 * share).astype(np.int32)):
        hidden = np.where(weight > 0, scores, np.nan)
        threshold, value = jax.device_get(search(hidden, labels, weight))
        assert threshold.shape == value.shape == (2,)
        again = at(hidden, labels, threshold, weight)
        np.testing.assert_allclose(again, value, rtol=1e-5)
        for row in range(2):
            keep = weight[row] > 0
            best = exhaustive(
                measure,
                scores[row][keep],
                labels[row][keep],
                sample_weight=weight[row][keep],
            )
            np.testing.assert_allclose(value[row], best, rtol=1e-5)


def test_it_is_never_worse_than_the_search_by_powell_and_often_better():
    worse = 0
    for seed in range(40):
        scores, labels = scored(size=400, seed=seed)
        scores = np.tanh(0.5 * scores)

        def missed(t, scores=scores, labels=labels):
            return -np.mean((scores > np.tanh(t)) == labels)

        found = scipy.optimize.fmin_powell(
            missed, 1.0, xtol=1e-10, ftol=1e-10, disp=False
        )
        value = float(best_accuracy_threshold(scores, labels).value)
        assert value >= -missed(found) - 1e-6
        worse += value > -missed(found) + 1e-6
    assert worse >= 5


def test_thresholds_at_the_ends_and_between_neighbours_of_floats():
    labels, none = np.array([1, 1, 0]), np.zeros(3, np.float32)
    one = np.float32(1.0)
    near = np.stack([one, np.nextafter(one, np.float32(2.0)), one])

    def search(scores, labels):
        return jax.device_get(best_accuracy_threshold(scores, labels))

    threshold, value = search(near, np.array([0, 1, 0]))
    assert (threshold, value) == (near[1], 1.0)
    assert predicted(near, threshold).tolist() == [False, True, False]
    assert search(near, none + 1.0) == (-np.inf, 1.0)
    assert search(near, none) == (np.inf, 1.0)
    assert search(none, labels) == (-np.inf, np.float32(2 / 3))
    # Equal scores are never parted: one of three is wrong, whatever is done.
    assert search(none + 0.5, 1 - labels).threshold == np.inf


def test_nothing_to_look_at_and_nothing_positive():
    rises, nothing = np.arange(3, dtype=np.float32), np.zeros(3, bool)
    ones, none = np.ones_like(rises), np.zeros_like(rises)
    for search, at, _ in SEARCHES.values():
        found = jax.device_get(search(np.nan * ones, ones, nothing))
        assert found == (-np.inf, 0.0)
        assert float(at(rises, ones, 0.5, nothing)) == 0.0
        assert float(search(none[:0], none[:0]).value) == 0.0
        found = search(rises.astype(jnp.bfloat16), ones)
        assert found.threshold.dtype == found.value.dtype == jnp.float32
    assert jax.device_get(best_f1_threshold(rises, none)) == (-np.inf, 0.0)
    assert float(f1_at(rises, none, 5.0)) == 0.0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="scores and labels must both be"):
        best_f1_threshold(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match=r"weight must be \(3,\) as scores are"):
        accuracy_at(np.ones(3), np.ones(3), 0.5, np.ones(2))
