"""Distances of texts as sets of word vectors, and what bounds them from below."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.directions import directions
from kexue_jax.metrics.costs import (
    cosine_costs,
    euclidean_costs,
    lengths,
)
from kexue_jax.metrics.transport import optimal_transport


def _shares(weight, like):
    """Weights ``[..., M]`` of sum 1; all alike without any, 0 where all are 0."""
    if weight is None:
        weight = jnp.ones(like.shape[:-1])
    elif weight.shape != like.shape[:-1]:
        raise ValueError(
            f"weights must be {like.shape[:-1]} for vectors {like.shape}, "
            f"got {weight.shape}"
        )
    weight = numerics.widened(jnp.asarray(weight))
    total = jnp.sum(weight, axis=-1, keepdims=True)
    return weight / jnp.where(total > 0.0, total, 1.0)


def _distance(cost, p, q, implementation):
    found = optimal_transport(cost, p, q, implementation=implementation).cost
    some = jnp.any(p > 0.0, axis=-1) & jnp.any(q > 0.0, axis=-1)
    return jnp.where(some, found, jnp.nan)


def word_movers_distance(
    x: jax.Array,
    y: jax.Array,
    x_weight: jax.Array | None = None,
    y_weight: jax.Array | None = None,
    *,
    implementation: str | None = None,
) -> jax.Array:
    r"""What it costs to move the words of one text to those of another (WMD).

    .. math:: \min_{G \ge 0} \sum_{ij} G_{ij} \| x_i - y_j \|, \quad
              G \mathbf{1} = p, \quad G^\top \mathbf{1} = q

    Args:
      x: ``[..., M, D]``, vectors of the words of texts, filled up with anything.
      y: ``[..., N, D]``, likewise, with the same leading axes.
      x_weight: ``[..., M]``, not negative, 0 for what fills up: frequencies of words,
        or ones; divided by their sum. None: all words count alike.
      y_weight: ``[..., N]``, likewise.
      implementation: as in `optimal_transport`.

    Returns:
      ``[...]`` float32, or float64 if the vectors are, in units of the vectors; nan for
      a text without words. It is a metric.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: those of `euclidean_costs` and `optimal_transport`. The gradient by the
      vectors is that of the costs under the plan; at equal words it is 0.

    Source: https://kexue.fm/archives/7388, whose code divides by the root of D, with
      which the bound of `word_centroid_bound` would not hold; Kusner et al. (2015).

    >>> x, y = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0, 1.0]])
    >>> print(f"{word_movers_distance(x, y):.4f}")
    1.2071
    """
    p, q = _shares(x_weight, x), _shares(y_weight, y)
    return _distance(euclidean_costs(x, y), p, q, implementation)


def word_rotators_distance(
    x: jax.Array,
    y: jax.Array,
    x_weight: jax.Array | None = None,
    y_weight: jax.Array | None = None,
    *,
    implementation: str | None = None,
) -> jax.Array:
    r"""The cheapest way to turn the words of one text into those of another (WRD).

    The cost of a pair is one less its cosine, and a word counts as its vector is long:
    :math:`p_i = w_i \| x_i \| / \sum_k w_k \| x_k \|`.

    Args:
      x, y, x_weight, y_weight, implementation: as in `word_movers_distance`; zero
        vectors have no weight.

    Returns:
      ``[...]`` float32, or float64 if the vectors are, from 0 to 2; nan for a text
      without words, or of zero vectors alone. One less it is a similarity from -1 to 1.
      It is symmetric, but no metric: triangles may be longer on one side.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: those of `cosine_costs` and `optimal_transport`; gradients reach the
      vectors through costs and weights.

    Source: https://kexue.fm/archives/7388; Yokoi et al.,
      https://arxiv.org/abs/2004.15003

    >>> x, y = jnp.array([[1.0, 0.0], [0.0, 2.0]]), jnp.array([[1.0, 1.0]])
    >>> print(f"{word_rotators_distance(x, y):.4f}")
    0.2929
    """
    p, q = rotators_weights(x, x_weight), rotators_weights(y, y_weight)
    return _distance(cosine_costs(x, y), p, q, implementation)


def rotators_weights(x: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    """Returns ``[..., M]``, norms of ``[..., M, D]`` times weights, of sum 1 or 0."""
    size = lengths(x)
    return _shares(size if weight is None else size * weight, x)


def word_centroid_bound(
    x: jax.Array,
    y: jax.Array,
    x_weight: jax.Array | None = None,
    y_weight: jax.Array | None = None,
) -> jax.Array:
    """The distance of the mean vectors (WCD), never above `word_movers_distance`.

    Arguments and errors are those of `word_movers_distance`; the result is ``[...]``.
    """
    means = [
        jnp.einsum("...m,...md->...d", _shares(w, a), numerics.widened(a))
        for a, w in ((x, x_weight), (y, y_weight))
    ]
    return lengths(means[0] - means[1])


def rotators_centroid_bound(
    x: jax.Array,
    y: jax.Array,
    x_weight: jax.Array | None = None,
    y_weight: jax.Array | None = None,
) -> jax.Array:
    r"""A bound never above `word_rotators_distance`, from two vectors.

    .. math:: \tfrac12 \Big\| \sum_i p_i \hat x_i - \sum_j q_j \hat y_j \Big\|^2

    Arguments and errors are those of `word_rotators_distance`; the result is ``[...]``.

    Source: https://kexue.fm/archives/7388
    """
    means = [
        jnp.einsum("...m,...md->...d", rotators_weights(a, w), directions(a))
        for a, w in ((x, x_weight), (y, y_weight))
    ]
    return 0.5 * jnp.sum(jnp.square(means[0] - means[1]), axis=-1)


def relaxed_bound(cost: jax.Array, p: jax.Array, q: jax.Array) -> jax.Array:
    """What it costs if each side goes to what is nearest, whatever arrives there.

    The greater of both sides, never above the cost of `optimal_transport`, for any
    costs. With distances of words it is called RWMD.

    Args:
      cost: ``[..., M, N]`` floating; what has no mass may cost anything.
      p, q: ``[..., M]`` and ``[..., N]``, masses of sum 1.

    Returns:
      ``[...]`` in the dtype of `cost`; 0 where nothing is to be moved.

    Raises:
      ValueError: if the shapes disagree.

    Source: Kusner et al., From word embeddings to document distances (2015).
    """
    if p.shape != cost.shape[:-1] or q.shape != (*cost.shape[:-2], cost.shape[-1]):
        raise ValueError(
            "cost, p and q must be [..., M, N], [..., M] and [..., N], got "
            f"{cost.shape}, {p.shape} and {q.shape}"
        )
    pair = (p > 0.0)[..., :, None] & (q > 0.0)[..., None, :]
    price = jnp.where(pair, cost, jnp.inf)
    sides = []
    for mass, axis in ((p, -1), (q, -2)):
        least = jnp.min(price, axis=axis)
        sides.append(jnp.sum(mass * jnp.where(least < jnp.inf, least, 0.0), axis=-1))
    return jnp.maximum(*sides)
