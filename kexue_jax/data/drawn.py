"""Drawn examples with one label each, as many as are asked for."""

import numpy as np

from kexue_jax.data.labelled import Batch, Labelled
from kexue_jax.data.order import Shuffled


def _flipped(
    label: np.ndarray, classes: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """Labels of which a share is another one."""
    count = round(share * len(label))
    wrong = rng.permutation(len(label))[:count]
    label = label.copy()
    label[wrong] = (label[wrong] + rng.integers(1, classes, count)) % classes
    return label


def _labelled(
    inputs: np.ndarray,
    label: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
    *,
    batch: int,
    seed: int,
) -> Labelled:
    order = Shuffled(len(label), batch, seed)

    def rows(step: int) -> Batch:
        index = order.indices(step)
        return {"inputs": inputs[index], "label": label[index].astype(np.int32)}

    held_out = {
        "inputs": test[0],
        "label": test[1].astype(np.int32),
        "weight": np.ones(len(test[1]), np.float32),
    }
    return Labelled(int(test[1].max()) + 1, rows, [held_out])


def two_gaussians(
    *,
    examples: int = 100,
    dimensions: int = 10,
    noise: float = 0.01,
    held_out: int = 20_000,
    batch: int = 100,
    seed: int = 0,
) -> Labelled:
    """Returns draws of two normal distributions that overlap.

    Their means are 0 and 1 in every dimension, their covariances 1. In 10 dimensions no
    rule is right on more than 94.3 % of them.

    Args:
      examples: to learn from, half of each class.
      dimensions: of the inputs, ``[B, dimensions]`` float32.
      noise: share of the labels to learn from that are wrong.
      held_out: examples with right labels.
      batch: examples a step.
      seed: of the draws and of the order.

    Source: Ishida et al., arXiv 2002.08709.
    """
    rng = np.random.Generator(np.random.Philox(seed))

    def draw(count):
        label = np.arange(count) % 2
        return (rng.normal(size=(count, dimensions)) + label[:, None]).astype(
            np.float32
        ), label

    inputs, label = draw(examples)
    test = draw(held_out)
    label = _flipped(label, 2, noise, rng)
    return _labelled(inputs, label, test, batch=batch, seed=seed)


def few_digits(
    *, examples: int = 500, noise: float = 0.0, batch: int = 100, seed: int = 0
) -> Labelled:
    """Returns few of scikit-learn's handwritten digits, and 897 others held out.

    Args:
      examples: to learn from, at most 900.
      noise: share of their labels that are wrong.
      batch: examples a step; inputs are ``[B, 64]`` from 0 to 1.
      seed: of which are taken, of the noise and of the order.

    Raises:
      ValueError: if there are not as many.
    """
    from sklearn.datasets import load_digits

    if not 0 < examples <= 900:
        raise ValueError(f"examples must be from 1 to 900, got {examples}")
    found = load_digits()
    rng = np.random.Generator(np.random.Philox(seed))
    order = rng.permutation(len(found.target))
    pixels = (found.data[order] / 16.0).astype(np.float32)
    label = found.target[order]
    own = _flipped(label[:examples], 10, noise, rng)
    test = (pixels[900:], label[900:])
    return _labelled(pixels[:examples], own, test, batch=batch, seed=seed)
