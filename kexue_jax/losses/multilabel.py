"""Multi-label cross-entropy: softmax's loss for any number of right classes.

Each loss compares all right classes, all wrong ones and one threshold with each other,
so that rare right classes need no weights. Rows are those of the last axis; means over
rows are the caller's.
"""

import math

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.log_sum_exp import log_one_plus_sum_exp, log_sum_exp


def _fits(shape, scores):
    """Whether an array of this shape broadcasts to the scores."""
    pairs = zip(shape[::-1], scores.shape[::-1], strict=False)
    return len(shape) <= scores.ndim and all(n in (1, m) for n, m in pairs)


def _widened(scores, kept):
    """Scores in float32 or float64, and which entries count."""
    if scores.ndim < 1:
        raise ValueError(f"scores must be [..., C], got {scores.shape}")
    scores = numerics.widened(scores)
    real = scores != -jnp.inf  # a nan is not hidden
    if kept is None:
        return scores, real
    if kept.dtype != jnp.bool_ or not _fits(kept.shape, scores):
        raise ValueError(
            f"kept must be bool and broadcast to {scores.shape}, got {kept.dtype} "
            f"{kept.shape}"
        )
    return scores, real & jnp.expand_dims(kept, range(scores.ndim - kept.ndim))


def _alike(name, labels, scores):
    if labels.shape != scores.shape:
        raise ValueError(
            f"{name} must have the shape of scores, {scores.shape}, got {labels.shape}"
        )


def _total(scores, right, wrong):
    """Both logarithms of sums, of what is right and of what is wrong."""
    missed = log_one_plus_sum_exp(jnp.where(right, -scores, -jnp.inf))
    return missed + log_one_plus_sum_exp(jnp.where(wrong, scores, -jnp.inf))


def multilabel_cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    kept: jax.Array | None = None,
    *,
    threshold: float | jax.Array = 0.0,
) -> jax.Array:
    r"""Softplus of the log-sum-exp of wrong scores, and of that of negated right ones.

    .. math:: \log\Big(1 + \sum_{j \in Q} e^{s_j - t}\Big)
              + \log\Big(1 + \sum_{i \in P} e^{t - s_i}\Big)

    It is small once all right classes score above the threshold and all wrong ones
    below it, whatever their numbers, and never asks for weights of classes.

    Args:
      scores: s, ``[..., C]``, any float dtype; -inf hides an entry, right or wrong.
      labels: ``[..., C]``, bool or 0 and 1; P is where they are not 0, Q the rest.
      kept: bool, broadcastable to ``[..., C]``; True keeps an entry. None: all.
      threshold: t, against which classes are told apart when they are predicted.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; never below 0, and 0 where nothing
      is kept.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Numerics: gradients are in [-1, 1] at any scores, and zero where nothing is kept.

    Source: https://kexue.fm/archives/7359; its threshold, which is added to both sums
      there, is the same as one taken off the scores.

    >>> scores, labels = jnp.array([2.0, -1.0, -3.0]), jnp.array([1, 0, 0])
    >>> round(multilabel_cross_entropy(scores, labels).item(), 4)
    0.4759
    """
    scores, kept = _widened(scores, kept)
    _alike("labels", labels, scores)
    right = labels != 0
    scores = scores - jnp.asarray(threshold, scores.dtype)
    return _total(scores, kept & right, kept & ~right)


def soft_multilabel_cross_entropy(
    scores: jax.Array, labels: jax.Array, kept: jax.Array | None = None
) -> jax.Array:
    r"""`multilabel_cross_entropy` of labels between 0 and 1.

    .. math:: \log\Big(1 + \sum_i t_i e^{-s_i}\Big)
              + \log\Big(1 + \sum_i (1 - t_i) e^{s_i}\Big)

    It is least where :math:`t_i = \sigma(2 s_i)`: twice the score is the logit of the
    probability that was learnt.

    Args:
      scores: s, ``[..., C]``, any float dtype; -inf hides an entry.
      labels: t, ``[..., C]`` in [0, 1].
      kept: bool, broadcastable to ``[..., C]``; True keeps an entry. None: all.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; never below 0.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Numerics: no label is clipped: one of 0 or 1 leaves a sum altogether.

    Source: https://kexue.fm/archives/9064
    """
    scores, kept = _widened(scores, kept)
    _alike("labels", labels, scores)
    labels = labels.astype(scores.dtype)

    def weighed(scores, weight):
        some = kept & (weight > 0.0)
        terms = scores + jnp.log(jnp.where(some, weight, 1.0))
        return log_one_plus_sum_exp(jnp.where(some, terms, -jnp.inf))

    return weighed(-scores, labels) + weighed(scores, 1.0 - labels)


def sparse_multilabel_cross_entropy(
    scores: jax.Array, positives: jax.Array, kept: jax.Array | None = None
) -> jax.Array:
    r"""`multilabel_cross_entropy` of right classes given by their numbers.

    .. math:: \log\Big(1 + \sum_{j \notin P} e^{s_j}\Big)
              + \log\Big(1 + \sum_{i \in P} e^{-s_i}\Big)

    Args:
      scores: s, ``[..., C]``, any float dtype; -inf hides an entry, right or wrong.
      positives: P, ``[..., K]`` integers. What is not in ``[0, C)`` is padding, and a
        number that comes twice counts once.
      kept: bool, broadcastable to ``[..., C]``; True keeps an entry. None: all.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; never below 0.

    Raises:
      ValueError: if the shapes disagree, `positives` are no integers, or `kept` is not
        bool.

    Numerics: right classes are put to -inf and the rest is summed, which is exact at
      any scores. The difference of the sums of all and of the right classes is not: it
      is below 0 in float32 as soon as right classes score well.

    Source: https://kexue.fm/archives/7359, without the difference that its sparse form
      takes, and without a class that is given up for padding.

    >>> scores, positives = jnp.array([2.0, -1.0, -3.0]), jnp.array([0, -1])
    >>> round(jax.jit(sparse_multilabel_cross_entropy)(scores, positives).item(), 4)
    0.4759
    """
    scores, positives, _, missed = _sparse(scores, positives, kept)
    count = math.prod(scores.shape[:-1])
    flat = (x.reshape(count, x.shape[-1]) for x in (scores, positives))
    rest = jax.vmap(lambda row, own: row.at[own].set(-jnp.inf, mode="drop"))(*flat)
    rest = rest.reshape(scores.shape)
    return log_one_plus_sum_exp(missed) + log_one_plus_sum_exp(rest)


def _sparse(scores, positives, kept):
    """Scores of what is kept; the numbers of what is right; its scores, and negated."""
    scores, kept = _widened(scores, kept)
    if (
        positives.shape[:-1] != scores.shape[:-1]
        or positives.ndim != scores.ndim
        or not jnp.issubdtype(positives.dtype, jnp.integer)
    ):
        raise ValueError(
            f"positives must be integers [..., K] for scores {scores.shape}, got "
            f"{positives.dtype} {positives.shape}"
        )
    size = scores.shape[-1]
    scores = jnp.where(kept, scores, -jnp.inf)
    positives = positives.astype(jnp.int32)
    positives = jnp.sort(jnp.where(positives < 0, size, positives), axis=-1)
    first = jnp.concatenate(
        [
            jnp.ones_like(positives[..., :1], bool),
            positives[..., 1:] != positives[..., :-1],
        ],
        axis=-1,
    )
    own = jnp.take_along_axis(
        scores, positives, axis=-1, mode="fill", fill_value=-jnp.inf
    )
    own = jnp.where(first, own, -jnp.inf)
    return scores, positives, own, jnp.where(own != -jnp.inf, -own, -jnp.inf)


def difference_multilabel_cross_entropy(
    scores: jax.Array,
    positives: jax.Array,
    kept: jax.Array | None = None,
    *,
    epsilon: float = 1e-7,
) -> jax.Array:
    r"""The published sparse form, to be compared with; do not train with it.

    What wrong classes sum to is the sum of all less that of the right ones,

    .. math:: a + \log \max(1 - e^{b - a}, \epsilon),
              \quad a = \log\Big(1 + \sum_j e^{s_j}\Big),
              \quad b = \log \sum_{i \in P} e^{s_i}

    `sparse_multilabel_cross_entropy` is the same in exact arithmetic, and exact.

    Args:
      scores, positives, kept: of `sparse_multilabel_cross_entropy`.
      epsilon: below which a share of wrong classes is not told from none.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; it can be negative.

    Raises:
      ValueError: as `sparse_multilabel_cross_entropy` does.

    Numerics: once right classes score well, 1 - exp(b - a) is a difference of two
      numbers near 1: in float32 it is noise, and below `epsilon` the loss rises with
      the scores of what is right by their own size, with no gradient from wrong ones.

    Source: https://kexue.fm/archives/7359, as its program has it.
    """
    scores, _, own, missed = _sparse(scores, positives, kept)
    every, right = log_one_plus_sum_exp(scores), log_sum_exp(own)
    some = jnp.any(own != -jnp.inf, axis=-1)
    share = 1.0 - jnp.where(some, jnp.exp(jnp.where(some, right, 0.0) - every), 0.0)
    wrong = every + jnp.log(jnp.clip(share, epsilon, 1.0))
    return log_one_plus_sum_exp(missed) + wrong


def symmetric_multilabel_divergence(
    first: jax.Array, second: jax.Array, kept: jax.Array | None = None
) -> jax.Array:
    r"""How far apart two sets of scores are, as probabilities of each class by itself.

    .. math:: \sum_i (\sigma(s_i) - \sigma(t_i)) (s_i - t_i)

    It is the sum over classes of both Kullback-Leibler divergences between Bernoulli
    distributions, and regularises two passes with different dropout.

    Args:
      first, second: s and t, ``[..., C]``, any float dtype; an entry that is -inf in
        either is hidden.
      kept: bool, broadcastable to ``[..., C]``; True keeps an entry. None: all.

    Returns:
      ``[...]`` float32, or float64 if either is; never below 0.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Source: https://kexue.fm/archives/9039
    """
    _alike("second", second, first)
    first, kept = _widened(first, kept)
    second, real = _widened(second, None)
    kept = kept & real
    first, second = jnp.where(kept, first, 0.0), jnp.where(kept, second, 0.0)
    rise = jax.nn.sigmoid(first) - jax.nn.sigmoid(second)
    return jnp.sum(rise * (first - second), axis=-1)


def log_subset_partition(scores: jax.Array, size: int) -> jax.Array:
    r"""Logarithm of the sum, over all subsets of k classes, of exp of their scores.

    .. math:: \log Z_k = \log \sum_{|A| = k} \exp \sum_{i \in A} s_i

    A softmax over subsets has the loss :math:`\log Z_k - \sum_{i \in P} s_i`. Its
    gradient is the probability that a class is in the subset, and sums to k.

    Args:
      scores: s, ``[..., C]``, any float dtype; -inf hides an entry.
      size: k, at least 0.

    Returns:
      ``[...]`` float32, or float64 if `scores` are; -inf if there are fewer classes.

    Raises:
      ValueError: if `size` is negative, or there are no classes.

    Numerics: :math:`Z_k` is the coefficient of :math:`z^k` in
      :math:`\prod_i (1 + z e^{s_i})`, whose factors are multiplied in pairs, in
      logarithms: only positive terms are added, so it is stable everywhere. It takes
      C k^2 steps and memory. Newton's identities,
      :math:`k Z_k = \sum_{m=1}^k (-1)^{m-1} Z_{k-m} S_m` with the power sums
      :math:`S_m = \sum_i e^{m s_i}`, take C k, but cancel once one class leads by
      :math:`-\log \epsilon`, 16 in float32, or k is large.

    Source: https://kexue.fm/archives/7359, where it is found by Newton's identities.

    >>> pairs = jax.jit(log_subset_partition, static_argnums=1)(jnp.zeros(3), 2)
    >>> round(pairs.item(), 4)  # log of 3
    1.0986
    """
    if size < 0:
        raise ValueError(f"size must be at least 0, got {size}")
    scores, _ = _widened(scores, None)
    if not scores.shape[-1]:
        raise ValueError(f"scores must have at least one class, got {scores.shape}")
    terms = scores[..., None]
    terms = jnp.concatenate([jnp.zeros_like(terms), terms], axis=-1)
    while terms.shape[-2] > 1:
        if terms.shape[-2] % 2:
            one = jnp.full_like(terms[..., :1, :], -jnp.inf).at[..., 0].set(0.0)
            terms = jnp.concatenate([terms, one], axis=-2)
        terms = _log_product(terms[..., ::2, :], terms[..., 1::2, :], size)
    if size < terms.shape[-1]:
        return terms[..., 0, size]
    return jnp.full_like(scores, -jnp.inf, shape=scores.shape[:-1])


def _log_product(first, second, size):
    """Product of polynomials whose logarithmic coefficients are on the last axis."""
    degree = first.shape[-1] - 1
    top = min(2 * degree, size)
    left, right = jnp.arange(degree + 1)[None, :], jnp.arange(top + 1)[:, None]
    other = jnp.where(right >= left, right - left, degree + 1)  # beyond: fills -inf
    found = jnp.take(second, other, axis=-1, mode="fill", fill_value=-jnp.inf)
    return log_sum_exp(first[..., None, :] + found)
