"""Scores of classes chosen for examples: accuracy, precision, recall and F1."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class ClassScores(NamedTuple):
    """Shares from 0 to 1, ``[]`` of one class or a mean, ``[C]`` by class.

    `precision`: of what was taken for the class, how much is; `recall`: of what is of
    the class, how much was taken for it; `f1`: their harmonic mean.
    """

    precision: jax.Array
    recall: jax.Array
    f1: jax.Array


def _weights(predicted, gold, weight):
    shapes = [predicted.shape, gold.shape, *([] if weight is None else [weight.shape])]
    if len(set(shapes)) > 1:
        raise ValueError(f"predicted, gold and weight differ in shape: {shapes}")
    if weight is None:
        return jnp.ones(predicted.shape, jnp.float32)
    return jnp.asarray(weight, jnp.float32)


def _share(part: jax.Array, whole: jax.Array) -> jax.Array:
    """A quotient that is 0 where there is nothing."""
    return jnp.where(whole > 0.0, part / jnp.where(whole > 0.0, whole, 1.0), 0.0)


def accuracy(
    predicted: jax.Array, gold: jax.Array, weight: jax.Array | None = None
) -> jax.Array:
    """Returns the share of examples, by weight, whose class is the right one.

    Args:
      predicted, gold: ``[...]``, alike in shape.
      weight: ``[...]``, at least 0; default 1 each.

    Returns:
      ``[]`` float32; 0 where nothing weighs anything.

    Raises:
      ValueError: if the shapes differ.

    >>> float(accuracy(jnp.array([0, 2, 1, 1]), jnp.array([0, 1, 1, 1])))
    0.75
    """
    weight = _weights(predicted, gold, weight)
    return _share(jnp.sum(weight * (predicted == gold)), jnp.sum(weight))


def _scores(right, taken, there) -> ClassScores:
    return ClassScores(
        _share(right, taken), _share(right, there), _share(2.0 * right, taken + there)
    )


def class_scores(
    predicted: jax.Array,
    gold: jax.Array,
    classes: int,
    weight: jax.Array | None = None,
) -> ClassScores:
    """Returns precision, recall and F1 of each class by itself.

    Args:
      predicted, gold: ``[...]`` integers in ``[0, C)``; others are of no class.
      classes: C.
      weight: ``[...]``, at least 0; default 1 each.

    Returns:
      Three of ``[C]`` float32. 0/0 is 0: the precision of a class that was never taken,
      the recall of one that never occurs.

    Raises:
      ValueError: if the shapes differ.
    """
    weight = _weights(predicted, gold, weight).reshape(-1, 1)
    every = jnp.arange(classes)[None]
    taken, there = predicted.reshape(-1, 1) == every, gold.reshape(-1, 1) == every
    return _scores(
        *(jnp.sum(weight * which, axis=0) for which in (taken & there, taken, there))
    )


def binary_scores(
    predicted: jax.Array, gold: jax.Array, weight: jax.Array | None = None
) -> ClassScores:
    """Returns precision, recall and F1 of the examples that are true.

    Args:
      predicted, gold: ``[...]`` bool, or numbers, true where they are not 0.
      weight: ``[...]``, at least 0; default 1 each.

    Returns:
      Three of ``[]`` float32; 0/0 is 0, also where nothing is or was taken for true.

    Raises:
      ValueError: if the shapes differ.

    >>> float(binary_scores(jnp.array([1, 1, 0, 0]), jnp.array([1, 0, 1, 0])).f1)
    0.5
    """
    weight = _weights(predicted, gold, weight)
    taken, there = predicted.astype(bool), gold.astype(bool)
    return _scores(
        *(jnp.sum(weight * which) for which in (taken & there, taken, there))
    )


def macro_scores(
    predicted: jax.Array,
    gold: jax.Array,
    classes: int,
    weight: jax.Array | None = None,
) -> ClassScores:
    """Returns the means over classes of `class_scores`.

    Classes that neither occur nor were taken are left out, as scikit-learn does; its
    other definition, the F1 of mean precision and recall, is not this one.

    Args:
      predicted, gold, classes, weight: as in `class_scores`.

    Returns:
      Three of ``[]`` float32; 0 where nothing weighs anything.

    Raises:
      ValueError: if the shapes differ.
    """
    each = class_scores(predicted, gold, classes, weight)
    every = jnp.arange(classes)[None]
    weight = _weights(predicted, gold, weight).reshape(-1, 1)
    seen = (predicted.reshape(-1, 1) == every) | (gold.reshape(-1, 1) == every)
    seen = jnp.any(seen & (weight > 0.0), axis=0)
    return ClassScores(*(_share(jnp.sum(s * seen), jnp.sum(seen)) for s in each))
