"""The threshold of a score that tells two classes apart best, exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics


class Threshold(NamedTuple):
    """A threshold, and what it reaches where it was chosen.

    Attributes:
      threshold: ``[...]``; what is at least as great counts as positive. -inf if all
        are, inf if none is.
      value: ``[...]``, accuracy or F1 on the scores it was chosen by.
    """

    threshold: jax.Array
    value: jax.Array


def _checked(scores, labels, weight):
    if not scores.ndim or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must both be [..., N], got {scores.shape} and "
            f"{labels.shape}"
        )
    if weight is None:
        weight = jnp.ones(scores.shape, bool)
    elif weight.shape != scores.shape:
        raise ValueError(
            f"weight must be {scores.shape} as scores are, got {weight.shape}"
        )
    if jnp.issubdtype(weight.dtype, jnp.floating):
        weight = numerics.widened(weight)
    else:
        weight = weight.astype(jnp.int32)  # counts are exact
    return numerics.widened(scores), labels > 0, weight


def predicted(scores: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """Returns bool ``[..., N]``: whether scores reach a threshold ``[...]``."""
    scores = numerics.widened(scores)
    threshold = jnp.asarray(threshold, scores.dtype)[..., None]
    threshold = jnp.expand_dims(threshold, range(scores.ndim - threshold.ndim))
    return scores >= threshold


def _accuracy(true_positive, predicted_positive, positive, total):
    right = total - positive - predicted_positive + 2 * true_positive
    return right / jnp.where(total > 0, total, 1)


def _f1(true_positive, predicted_positive, positive, total):
    both = predicted_positive + positive
    return 2 * true_positive / jnp.where(both > 0, both, 1)


def _value_at(measure, scores, labels, threshold, weight):
    scores, truth, weight = _checked(scores, labels, weight)
    said = predicted(scores, threshold)
    kept = (truth & said, said, truth, jnp.ones_like(truth))
    sums = [jnp.sum(jnp.where(some, weight, 0), axis=-1) for some in kept]
    return measure(*sums).astype(scores.dtype)


def accuracy_at(
    scores: jax.Array,
    labels: jax.Array,
    threshold: jax.Array | float,
    weight: jax.Array | None = None,
) -> jax.Array:
    """The share that a threshold, chosen on other data perhaps, classifies rightly.

    Args:
      scores: ``[..., N]``, finite.
      labels: ``[..., N]``, positive where greater than 0.
      threshold: ``[...]``, or one for all.
      weight: ``[..., N]``, not negative, or bool for rows that count (True) and those
        that only fill up. None: all count.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; 0 if nothing counts.

    Raises:
      ValueError: if the shapes disagree.

    >>> scores, labels = jnp.array([0.2, 0.6, 0.9]), jnp.array([0, 0, 1])
    >>> accuracy_at(scores, labels, 0.9).item()
    1.0
    """
    return _value_at(_accuracy, scores, labels, threshold, weight)


def f1_at(
    scores: jax.Array,
    labels: jax.Array,
    threshold: jax.Array | float,
    weight: jax.Array | None = None,
) -> jax.Array:
    r"""The F1 of a threshold, chosen on other data perhaps.

    .. math:: 2 \mathrm{TP} / (2 \mathrm{TP} + \mathrm{FP} + \mathrm{FN})

    Arguments, result and errors are those of `accuracy_at`; 0 if nothing is, or is
    said to be, positive.
    """
    return _value_at(_f1, scores, labels, threshold, weight)


def _best(measure, scores, labels, weight):
    scores, truth, weight = _checked(scores, labels, weight)
    scores = jnp.where(weight > 0, jax.lax.stop_gradient(scores), 0.0)
    hidden, scores, truth, weight = jax.lax.sort(
        ((weight <= 0).astype(jnp.int32), scores, truth.astype(jnp.int32), weight),
        dimension=-1,
        num_keys=2,
    )
    # Place k is the cut below which the k lowest scores lie.
    none = [(0, 0)] * (scores.ndim - 1)
    cuts = [*none, (1, 0)]
    below = jnp.pad(jnp.cumsum(weight, axis=-1), cuts)
    below_true = jnp.pad(jnp.cumsum(weight * truth, axis=-1), cuts)
    total, positive = below[..., -1:], below_true[..., -1:]
    value = measure(positive - below_true, total - below, positive, total)
    lower = jnp.pad(scores, cuts, constant_values=-jnp.inf)
    upper = jnp.pad(
        jnp.where(hidden > 0, jnp.inf, scores), [*none, (0, 1)], constant_values=jnp.inf
    )
    # A cut is one between different scores, or at an end: not among hidden rows.
    outer = jnp.pad(hidden, cuts) > 0
    first = jax.lax.broadcasted_iota(jnp.int32, lower.shape, lower.ndim - 1) == 0
    last = jnp.pad(hidden, [*none, (0, 1)], constant_values=1) > 0
    possible = first | (~outer & (last | (lower < upper)))
    at = jnp.argmax(jnp.where(possible, value, -1.0), axis=-1, keepdims=True)
    lower, upper, value = (
        jnp.take_along_axis(a, at, axis=-1)[..., 0] for a in (lower, upper, value)
    )
    ends = jnp.isinf(lower) | jnp.isinf(upper)
    middle = 0.5 * jnp.where(ends, 0.0, lower) + 0.5 * jnp.where(ends, 0.0, upper)
    middle = jnp.where(~ends & (middle > lower), middle, upper)
    last = jnp.take_along_axis(last, at, axis=-1)[..., 0]
    threshold = jnp.where(at[..., 0] == 0, -jnp.inf, jnp.where(last, jnp.inf, middle))
    return Threshold(threshold, value.astype(scores.dtype))


def best_accuracy_threshold(
    scores: jax.Array, labels: jax.Array, weight: jax.Array | None = None
) -> Threshold:
    """Finds the threshold of the greatest accuracy, among all there are.

    Scores are sorted once, and each cut between two different ones is looked at; the
    threshold is the middle between them. Of equally good cuts the lowest is taken.

    Args:
      scores: ``[..., N]``, finite.
      labels: ``[..., N]``, positive where greater than 0.
      weight: ``[..., N]``, as in `accuracy_at`.

    Returns:
      The `Threshold`, float32, or float64 if `scores` are; -inf and 0 if nothing
      counts.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: counts are exact up to :math:`2^{31}`; weights that are not whole are
      added up in float32 or wider. The threshold parts the scores as it was found to,
      also where no number lies between them. Gradients are 0.

    Source: https://kexue.fm/archives/8860, which searches by Powell's method and may
      miss the greatest.

    >>> scores, labels = jnp.array([0.2, 0.5, 0.5, 0.9]), jnp.array([0, 0, 1, 1])
    >>> [round(x.item(), 4) for x in best_accuracy_threshold(scores, labels)]
    [0.35, 0.75]
    """
    return _best(_accuracy, scores, labels, weight)


def best_f1_threshold(
    scores: jax.Array, labels: jax.Array, weight: jax.Array | None = None
) -> Threshold:
    """Finds the threshold of the greatest F1, among all there are.

    Arguments, result and errors are those of `best_accuracy_threshold`; without a
    positive row the threshold is -inf and the F1 0.
    """
    return _best(_f1, scores, labels, weight)
