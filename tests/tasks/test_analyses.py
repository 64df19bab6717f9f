import jax
import numpy as np
import pytest

from kexue_jax.tasks.activation_constants import ActivationConstants
from kexue_jax.tasks.attention_error import LandmarkError, RandomFeatureError
from kexue_jax.tasks.entropy import EntropyTargets, RetrievalByLength, newton_from_one
from kexue_jax.tasks.gate_jacobians import GateJacobians
from kexue_jax.tasks.position_decay import SinusoidDecay

SMALL = {
    "features": lambda: RandomFeatureError(length=16, features=(4,), draws=2),
    "landmarks": lambda: LandmarkError(
        length=16, head_size=4, landmarks=4, iterations=(0, 1), draws=2
    ),
    "retrieval": lambda: RetrievalByLength(lengths=(8, 16), draws=4, base=16.0),
    "targets": lambda: EntropyTargets(size=8, draws=4),
    "gates": lambda: GateJacobians(cells=8, steps=3),
    "decay": lambda: SinusoidDecay(size=8),
}


SLOW = ("landmarks", "targets", "features", "gates")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in SMALL],
)
def test_a_measurement_is_a_function_of_its_key(keys, name):
    one, two = next(keys), next(keys)
    task = SMALL[name]()
    scores, other, again = (task.evaluate(*task.init(key)) for key in (one, two, one))
    assert scores == again
    assert all(np.isfinite(value) and "/" in key for key, value in scores.items())
    assert (other != scores) == (name != "decay")
    assert task.exhibits(*task.init(one))


@pytest.mark.parametrize("name", ["features", "landmarks", "retrieval", "targets"])
def test_settings_are_the_fingerprint(name):
    made = SMALL[name]()
    found = made.fingerprint()
    assert found["draws"] == made.draws
    assert not any(key.startswith("_") for key in found)


def test_both_scales_agree_at_the_base_and_the_usual_one_below(keys):
    task = RetrievalByLength(lengths=(8, 64), base=64.0, draws=50)
    scores = task.evaluate(*task.init(next(keys)))
    for kind in ("target", "entropy", "unrelated"):
        usual, log = (scores[f"{scale}/{kind}_64"] for scale in ("usual", "log"))
        np.testing.assert_allclose(usual, log, rtol=1e-5)
    assert scores["usual/target_8"] > scores["log/target_8"]


def test_the_step_of_the_post_reaches_mild_targets_and_can_reverse_peaked_ones():
    draw = np.random.default_rng(0)
    target = 0.7 * np.log(100)
    mild = newton_from_one(draw.normal(size=(20, 100)), target, 10)
    entropy = -np.sum(mild * np.log(mild), axis=-1)
    np.testing.assert_allclose(entropy, target, atol=1e-9)
    logits = 4.0 * draw.normal(size=(50, 100))
    found = newton_from_one(logits, 0.9 * np.log(100), 30)
    top, least = logits.argmax(axis=-1), logits.argmin(axis=-1)
    rows = np.arange(50)
    assert np.mean(found[rows, top] < found[rows, least]) > 0.3


@pytest.mark.slow
def test_more_iterations_help_a_smooth_sequence(keys):
    task = LandmarkError(
        length=64, head_size=8, landmarks=8, iterations=(0, 1, 3), draws=3
    )
    scores = task.evaluate(*task.init(next(keys)))
    errors = [scores[f"same/pinv_{n}"] for n in (0, 1, 3)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < scores["same/none"] < scores["same/mean"]


@pytest.mark.slow
def test_constants_of_activations_are_found_without_a_key():
    task = ActivationConstants()
    found = task.evaluate(*task.init(jax.random.key(0)))
    assert abs(found["constant/gelu_tanh"] - 0.044715) < 5e-7


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: RandomFeatureError(draws=0), "draws"),
        (lambda: LandmarkError(draws=0), "draws"),
        (lambda: RetrievalByLength(cosine=1.0), "cosine"),
        (lambda: EntropyTargets(size=1), "size"),
        (lambda: GateJacobians(cells=0), "cells"),
    ],
)
def test_settings_that_measure_nothing_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()
