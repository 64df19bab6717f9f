import numpy as np
import pytest

from kexue_jax.data.drawn import few_digits, two_gaussians


def all_of(data, steps):
    batches = [data.source(step) for step in range(steps)]
    return [np.concatenate([b[name] for b in batches]) for name in ("inputs", "label")]


def test_two_classes_lie_where_they_should_and_one_label_in_a_hundred_is_wrong():
    data = two_gaussians(held_out=20_000)
    (test,) = data.held_out
    assert test["inputs"].shape == (20_000, 10)
    assert data.classes == 2
    for label in (0, 1):
        own = test["inputs"][test["label"] == label]
        np.testing.assert_allclose(own.mean(axis=0), label, atol=0.05)
        np.testing.assert_allclose(np.cov(own.T), np.eye(10), atol=0.06)
    best = test["inputs"].mean(axis=1) > 0.5  # of Bayes
    assert abs((best == test["label"]).mean() - 0.943) < 0.005
    inputs, label = all_of(data, 1)
    right = two_gaussians(noise=0.0)
    order = np.lexsort(inputs.T)
    others, true = all_of(right, 1)
    again = np.lexsort(others.T)
    np.testing.assert_array_equal(inputs[order], others[again])
    assert np.sum(label[order] != true[again]) == 1


def test_few_digits_keep_the_others_apart_and_flip_a_share_of_their_own():
    data = few_digits(examples=500, noise=0.2)
    inputs, label = all_of(data, 5)
    assert inputs.shape == (500, 64)
    assert inputs.max() == 1.0
    _, true = all_of(few_digits(examples=500), 5)
    assert np.sum(label != true) == 100
    (test,) = data.held_out
    assert len(test["label"]) == 897
    own = {row.tobytes() for row in inputs}
    assert sum(row.tobytes() in own for row in test["inputs"]) < 10  # doublets
    other, _ = all_of(few_digits(examples=500, seed=1), 5)
    assert {row.tobytes() for row in other} != own
    with pytest.raises(ValueError, match="examples must be from 1 to 900, got 901"):
        few_digits(examples=901)
