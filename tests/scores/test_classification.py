import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from kexue_jax.scores.classification import (
    accuracy,
    binary_scores,
    class_scores,
    macro_scores,
)


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    predicted, gold = rng.integers(0, 4, 40), rng.integers(1, 5, 40)
    return predicted, gold, rng.random(40).astype(np.float32)


def theirs(predicted, gold, weight, **options):
    return metrics.precision_recall_fscore_support(
        gold, predicted, sample_weight=weight, zero_division=0, **options
    )[:3]


def test_they_are_those_of_scikit_learn(drawn):
    predicted, gold, weight = drawn

    @jax.jit
    def each(predicted, gold, weight):
        return (
            accuracy(predicted, gold, weight),
            class_scores(predicted, gold, 6, weight),
            macro_scores(predicted, gold, 6, weight),
            binary_scores(predicted > 2, gold > 2, weight),
        )

    right, by_class, macro, binary = each(*drawn)
    np.testing.assert_allclose(
        right, metrics.accuracy_score(gold, predicted, sample_weight=weight), rtol=1e-5
    )
    want = theirs(*drawn, labels=range(6))
    np.testing.assert_allclose(np.stack(by_class), np.stack(want), rtol=1e-5)
    np.testing.assert_allclose(macro, theirs(*drawn, average="macro"), rtol=1e-5)
    want = theirs(predicted > 2, gold > 2, weight, average="binary")
    np.testing.assert_allclose(binary, want, rtol=1e-5)


def test_nothing_to_find_and_nothing_found_are_0_and_finite():
    none, some = jnp.zeros(3, bool), jnp.ones(3, bool)
    for predicted, gold in ((none, none), (some, none), (none, some)):
        assert binary_scores(predicted, gold) == (0.0, 0.0, 0.0)
    empty = jnp.zeros(0, int)
    assert accuracy(empty, empty) == 0.0
    assert macro_scores(empty, empty, 3) == (0.0, 0.0, 0.0)
    assert accuracy(none, none, jnp.zeros(3)) == 0.0


def test_rows_without_weight_do_not_count(drawn):
    predicted, gold, _ = drawn
    weight = (np.arange(40) < 20).astype(np.float32)
    got = macro_scores(predicted, gold, 5, weight)
    want = macro_scores(predicted[:20], gold[:20], 5)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"differ in shape: \[\(2,\), \(3,\)\]"):
        accuracy(jnp.zeros(2), jnp.zeros(3))
    with pytest.raises(ValueError, match="differ in shape"):
        class_scores(jnp.zeros(2, int), jnp.zeros(2, int), 2, jnp.zeros(3))
