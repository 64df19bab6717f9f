import jax
import numpy as np
import pytest

from kexue_jax.data.drawn import few_digits
from kexue_jax.nn.homogeneous import HomogeneousClassifier
from kexue_jax.nn.rows import InputClassifier
from kexue_jax.tasks.robust_classification import RobustClassification
from kexue_jax.tasks.weight_scales import WeightScales


@pytest.fixture(scope="module")
def data():
    return few_digits(examples=20, batch=20)


def test_attacks_find_what_a_linear_model_gives_exactly(data):
    def model(classes, *, rngs):
        return InputClassifier(classes, columns=64, hidden=(), rngs=rngs)

    task = RobustClassification(data=data, model=model, radii=(0.1, 0.3))
    params, extras = task.init(jax.random.key(0))
    kernel = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    params = jax.tree.map(lambda x: kernel if x.ndim == 2 else x, params)
    scores = task.evaluate(params, extras)
    (batch,) = data.held_out
    out = batch["inputs"] @ kernel
    own = out[np.arange(len(out)), batch["label"]]
    distance = np.full(len(out), np.inf)  # to the nearest other class
    for other in range(10):
        away = np.linalg.norm(kernel - kernel[:, batch["label"]].T[:, :, None], axis=1)
        gap = (own - out[:, other]) / np.where(away[:, other] > 0, away[:, other], 1)
        distance = np.where(
            batch["label"] == other, distance, np.minimum(distance, gap)
        )
    for radius in (0.1, 0.3):
        found = scores[f"valid/accuracy_at_{radius:g}"]
        exact = np.mean(distance > radius)
        assert exact - 1e-9 <= found <= exact + 0.02  # the loss is not the margin
    assert scores["valid/accuracy"] >= scores["valid/accuracy_at_0.1"]
    curve = task.exhibits(params, extras)[0].series[0]
    np.testing.assert_array_equal(curve.x, [0.0, 0.1, 0.3])
    assert task.fingerprint()["radii"] == "(0.1, 0.3)"
    with pytest.raises(ValueError, match="radii must be some positive numbers"):
        RobustClassification(data=data, model=model, radii=())


def test_scales_are_scored_against_the_start_and_no_shift_is_seen(data):
    def model(classes, *, rngs):
        return HomogeneousClassifier(
            classes, columns=64, hidden=(8,), scales=(3.0, 0.5), rngs=rngs
        )

    task = WeightScales(data=data, model=model, radii=(0.1,))
    params, extras = task.init(jax.random.key(0))
    first, second = (np.sum(np.square(x)) for x in jax.tree.leaves(params))
    scores = task.evaluate(params, extras)
    assert scores["weights/gap_1"] == pytest.approx(1.0)
    assert scores["weights/square"] == pytest.approx(first + second, rel=1e-5)
    even = 2 * np.sqrt(first * second)
    assert scores["weights/balanced_square"] == pytest.approx(even, rel=1e-5)
    assert scores["weights/moved"] < 1e-5
    half = jax.tree.map(lambda x: 0.5 * x, params)
    assert task.evaluate(half, extras)["weights/gap_1"] == pytest.approx(0.25)
    loss, (after, _) = jax.jit(task.loss)(params, extras, data.source(0), None)
    assert np.isfinite(loss)
    assert jax.tree.structure(after) == jax.tree.structure(extras)
    with pytest.raises(ValueError, match="one a layer"):
        HomogeneousClassifier(2, columns=3, hidden=(), scales=(1.0, 1.0), rngs=None)
