"""CoSENT: scores of pairs of texts are to be ordered as their labels are."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def _checked(similarity, label, mask):
    if similarity.ndim != 1 or similarity.shape != label.shape:
        raise ValueError(
            "similarity and label must both be [B], got "
            f"{similarity.shape} and {label.shape}"
        )
    if mask is not None and (mask.dtype != jnp.bool_ or mask.shape != similarity.shape):
        raise ValueError(
            f"mask must be bool {similarity.shape}, got {mask.dtype} {mask.shape}"
        )
    mask = jnp.ones(similarity.shape, bool) if mask is None else mask
    return jnp.where(mask, numerics.widened(similarity), 0.0), mask


def _runs(label, mask):
    """Sorts by label, and says where runs of equal ones begin and end.

    Returns:
      The order ``[B]``, what is hidden at its end, and in that order which rows are
      kept, the first place of each row's run, and the first place behind it.
    """
    place = jnp.arange(len(label), dtype=jnp.int32)
    hidden, label, order = jax.lax.sort(
        ((~mask).astype(jnp.int32), jnp.where(mask, label, 0), place), num_keys=2
    )
    new = (label[1:] != label[:-1]) | (hidden[1:] != hidden[:-1])
    edge = jnp.ones_like(new, shape=(1,))
    begin = jax.lax.cummax(jnp.where(jnp.concatenate([edge, new]), place, 0))
    last = jnp.where(jnp.concatenate([new, edge]), place, len(label))
    end = jax.lax.cummin(last, reverse=True) + 1
    return order, hidden == 0, begin, end


def _log_sums(scores, begin, end, kept):
    """Logarithms ``[B]`` of sums over lower rows of exp(s), over higher of exp(-s)."""
    none = jnp.full((1,), -jnp.inf, scores.dtype)
    rises = jax.lax.cumlogsumexp(jnp.where(kept, scores, -jnp.inf))
    falls = jax.lax.cumlogsumexp(jnp.where(kept, -scores, -jnp.inf), reverse=True)
    lower = jnp.concatenate([none, rises])[begin]
    higher = jnp.concatenate([falls, none])[end]
    return lower, jnp.where(kept, higher, -jnp.inf)


def _log_total(scores, higher):
    """log(1 + sum over pairs), of scores and sums of what lies higher."""
    terms = jnp.where(higher > -jnp.inf, scores + higher, -jnp.inf)
    top = jnp.maximum(jnp.max(terms, initial=-jnp.inf), 0.0)
    top = jax.lax.stop_gradient(top)  # what comes out does not depend on it
    rest = jnp.sum(jnp.exp(terms - top))
    # With a top of 0 the 1 is added without loss to a sum that may be tiny.
    large = top > 0.0
    inner = jnp.where(large, jnp.exp(-top) + rest, 1.0)
    return jnp.where(
        large, top + jnp.log(inner), jnp.log1p(jnp.where(large, 0.0, rest))
    )


@jax.custom_jvp
def _ordered_loss(scores, begin, end, kept):
    return _log_total(scores, _log_sums(scores, begin, end, kept)[1])


@_ordered_loss.defjvp
def _ordered_loss_jvp(primals, tangents):
    scores, begin, end, kept = primals
    lower, higher = _log_sums(scores, begin, end, kept)
    loss = _log_total(scores, higher)
    parts = []
    for sign, sums in ((1.0, higher), (-1.0, lower)):
        some = kept & (sums > -jnp.inf)
        share = jnp.where(some, sign * scores + sums - loss, 0.0)
        parts.append(jnp.where(some, jnp.exp(share), 0.0))
    return loss, jnp.sum((parts[0] - parts[1]) * tangents[0])


def cosent(
    similarity: jax.Array,
    label: jax.Array,
    mask: jax.Array | None = None,
    *,
    scale: float | jax.Array = 20.0,
) -> jax.Array:
    r"""Softplus of a log-sum-exp over all pairs in the wrong order, in B log B steps.

    .. math:: \log\Big( 1 + \sum_{a, b:\, y_a < y_b} e^{\lambda (s_a - s_b)} \Big)

    It is 0 when each score lies far enough above those of lower labels, and depends on
    differences of scores and the order of labels alone, as Spearman's correlation does.

    Args:
      similarity: s, ``[B]``, any float dtype: cosines of pairs of texts, as of
        `cosine_similarity`, or what another model says of each pair.
      label: y, ``[B]``, int or float: two classes, or degrees of likeness. They are
        compared as they are, so labels that should be equal have to be.
      mask: bool ``[B]``; True keeps a pair of texts. None: all.
      scale: :math:`\lambda`, positive.

    Returns:
      ``[]`` float32, or float64 if `similarity` is; 0 if no label is below another.
      It grows with the number of comparisons: m of them at equal scores give
      ``log(1 + m)``, from which training starts.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Numerics: logarithms of sums, never sums; derivatives are the closed form
      :math:`\lambda (\sum_{b: y_c < y_b} w_{cb} - \sum_{a: y_a < y_c} w_{ac})`, w being
      a pair's share of the sum with its 1. Errors are about ``eps * scale * max|s|``.
      The comparisons are those of the whole batch: under `pmap` each device would have
      only its own, so use it under `jit`.

    Source: https://kexue.fm/archives/8847; for models that read both texts at once
      https://kexue.fm/archives/9341

    >>> s, y = jnp.array([0.9, 0.2, 0.5, 0.7]), jnp.array([1, 0, 0, 1])
    >>> cosent(s, y).round(6).item()
    0.018525000661611557
    """
    similarity, mask = _checked(similarity, label, mask)
    if not len(label):
        return jnp.zeros((), similarity.dtype)
    order, kept, begin, end = _runs(jax.lax.stop_gradient(label), mask)
    scores = jnp.asarray(scale, similarity.dtype) * similarity[order]
    return _ordered_loss(scores, begin, end, kept)


def cosent_dense(
    similarity: jax.Array,
    label: jax.Array,
    mask: jax.Array | None = None,
    *,
    scale: float | jax.Array = 20.0,
    comparisons: jax.Array | None = None,
) -> jax.Array:
    r"""`cosent` by an array of all comparisons, of which some may be left out.

    .. math:: \log\Big( 1 + \sum_{a, b:\, y_a < y_b} c_{ab}
              e^{\lambda (s_a - s_b)} \Big)

    Args:
      similarity, label, mask, scale: as in `cosent`.
      comparisons: c, bool ``[B, B]``; True keeps the comparison of a pair a and a pair
        b, where the label of a is lower. None: all.

    Returns:
      As `cosent`.

    Raises:
      ValueError: if the shapes disagree, or a mask is not bool.

    Numerics: memory and time go by the square of B, which for a few hundred pairs is
      the faster form. Differences are scaled, not scores, so errors are about
      ``eps * scale`` times the greatest of these.
    """
    similarity, mask = _checked(similarity, label, mask)
    size = len(label)
    if comparisons is not None and (
        comparisons.dtype != jnp.bool_ or comparisons.shape != (size, size)
    ):
        raise ValueError(
            f"comparisons must be bool {(size, size)}, got {comparisons.dtype} "
            f"{comparisons.shape}"
        )
    kept = (label[:, None] < label[None, :]) & mask[:, None] & mask[None, :]
    kept = kept if comparisons is None else kept & comparisons
    terms = similarity[:, None] - similarity[None, :]
    terms = jnp.asarray(scale, similarity.dtype) * jnp.where(kept, terms, 0.0)
    return _log_total(terms, jnp.where(kept, 0.0, -jnp.inf))
