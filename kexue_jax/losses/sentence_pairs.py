"""Losses of pairs of texts that judge each pair by itself.

They are what CoSENT is compared with: five of cosines, and the objectives of
InferSent and Sentence-BERT.
"""

import jax
import jax.numpy as jnp
import optax

from kexue_jax import numerics


def _kept(mask, size):
    """The mask ``[B]``, all True for None."""
    if mask is None:
        return jnp.ones(size, bool)
    if mask.dtype != jnp.bool_ or mask.shape != (size,):
        raise ValueError(f"mask must be bool [{size}], got {mask.dtype} {mask.shape}")
    return mask


def _mean(losses, mask):
    """Mean ``[]`` of ``[B]``; 0 if nothing is kept."""
    count = jnp.sum(mask, dtype=losses.dtype)
    return jnp.sum(jnp.where(mask, losses, 0.0)) / jnp.maximum(count, 1.0)


def _pairs(similarity, label, mask):
    """Both in one dtype, 0 where they are not kept, and the mask."""
    if similarity.ndim != 1 or similarity.shape != label.shape:
        raise ValueError(
            "similarity and label must both be [B], got "
            f"{similarity.shape} and {label.shape}"
        )
    mask = _kept(mask, len(label))
    similarity = jnp.where(mask, numerics.widened(similarity), 0.0)
    return similarity, jnp.where(mask, label, 0).astype(similarity.dtype), mask


def _of_sides(alike, unlike, label, mask):
    return _mean(label * alike + (1.0 - label) * unlike, mask)


def linear_cosine_loss(
    similarity: jax.Array, label: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    r"""Mean of :math:`t (1 - c) + (1 - t)(1 + c)`.

    Args:
      similarity: c, ``[B]``, cosines, any float dtype.
      label: t, ``[B]``, 1 for texts that are alike and 0 for others, or between.
      mask: bool ``[B]``; True keeps a pair. None: all.

    Returns:
      ``[]`` float32, or float64 if `similarity` is; 0 if no pair is kept.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Source: https://kexue.fm/archives/8847
    """
    c, t, mask = _pairs(similarity, label, mask)
    return _of_sides(1.0 - c, 1.0 + c, t, mask)


def squared_cosine_loss(
    similarity: jax.Array,
    label: jax.Array,
    mask: jax.Array | None = None,
    *,
    target: float = 0.0,
) -> jax.Array:
    r"""Mean of :math:`t (1 - c)^2 + (1 - t)(c - c_-)^2`.

    Args:
      similarity, label, mask: as in `linear_cosine_loss`.
      target: :math:`c_-`, where unlike texts should be: 0, or -1 as in another loss of
        the post.

    Returns:
      As `linear_cosine_loss`, with its errors.

    Source: https://kexue.fm/archives/8847
    """
    c, t, mask = _pairs(similarity, label, mask)
    return _of_sides(jnp.square(1.0 - c), jnp.square(c - target), t, mask)


def cosine_embedding_loss(
    similarity: jax.Array,
    label: jax.Array,
    mask: jax.Array | None = None,
    *,
    margin: float = 0.7,
) -> jax.Array:
    r"""Mean of :math:`t (1 - c) + (1 - t) \max(c - m, 0)`.

    Args:
      similarity, label, mask: as in `linear_cosine_loss`.
      margin: m, the cosine up to which unlike texts may be alike.

    Returns:
      As `linear_cosine_loss`, with its errors.

    Source: https://kexue.fm/archives/8847, which has :math:`\max(c, m)`: more by m for
      each unlike pair, so that unlike pairs never cost nothing, with the same
      gradients. PyTorch's loss of this name has labels of 1 and -1.
    """
    c, t, mask = _pairs(similarity, label, mask)
    return _of_sides(1.0 - c, jnp.maximum(c - margin, 0.0), t, mask)


def cosine_margins_loss(
    similarity: jax.Array,
    label: jax.Array,
    mask: jax.Array | None = None,
    *,
    upper: float = 0.9,
    lower: float = 0.1,
) -> jax.Array:
    r"""Mean of :math:`t \max(m_+ - c, 0) + (1 - t) \max(c - m_-, 0)`.

    Args:
      similarity, label, mask: as in `linear_cosine_loss`.
      upper: :math:`m_+`, from which on alike texts cost nothing.
      lower: :math:`m_-`, up to which unlike texts cost nothing.

    Returns:
      As `linear_cosine_loss`, with its errors.

    Source: https://kexue.fm/archives/8847
    """
    c, t, mask = _pairs(similarity, label, mask)
    return _of_sides(jnp.maximum(upper - c, 0.0), jnp.maximum(c - lower, 0.0), t, mask)


def cosine_regression_loss(
    similarity: jax.Array, target: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    r"""Mean of :math:`(c - t)^2`, Sentence-BERT's objective for degrees of likeness.

    Args:
      similarity, mask: as in `linear_cosine_loss`.
      target: t, ``[B]``, in units of cosines.

    Returns:
      As `linear_cosine_loss`, with its errors.

    Source: Reimers and Gurevych, https://arxiv.org/abs/1908.10084
    """
    c, t, mask = _pairs(similarity, target, mask)
    return _mean(jnp.square(c - t), mask)


def pair_features(u: jax.Array, v: jax.Array) -> jax.Array:
    r"""Features :math:`[u; v; |u - v|]` of pairs of vectors, for a linear classifier.

    Args:
      u, v: ``[..., D]`` of one shape, any float dtype.

    Returns:
      ``[..., 3 D]`` float32, or float64 if an argument is.

    Raises:
      ValueError: if the shapes disagree.

    Numerics: where entries are equal the gradient by them through the last part is 0.

    Source: Reimers and Gurevych, https://arxiv.org/abs/1908.10084; InferSent,
      https://arxiv.org/abs/1705.02364, has the product :math:`u v` as a fourth part.
    """
    if u.shape != v.shape or not u.ndim:
        raise ValueError(f"u and v must both be [..., D], got {u.shape} and {v.shape}")
    u, v = numerics.widened(u), numerics.widened(v)
    apart = u - v
    sign = jax.lax.stop_gradient(jnp.sign(apart))  # jnp.abs has the slope 1 at 0
    return jnp.concatenate([u, v, sign * apart], axis=-1)


def pair_classification_loss(
    u: jax.Array,
    v: jax.Array,
    label: jax.Array,
    kernel: jax.Array,
    mask: jax.Array | None = None,
) -> jax.Array:
    r"""Mean cross-entropy of :math:`\mathrm{softmax}([u; v; |u - v|] W)`.

    Trained like this, vectors are compared by their cosine all the same: the two need
    not agree.

    Args:
      u, v: ``[B, D]``, vectors of the two texts of each pair, any float dtype.
      label: ``[B]`` int, from 0 to C - 1.
      kernel: W, ``[3 D, C]``, a parameter.
      mask: bool ``[B]``; True keeps a pair. None: all.

    Returns:
      ``[]`` float32, or float64 if an argument is; 0 if no pair is kept.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Source: https://kexue.fm/archives/8847 and https://arxiv.org/abs/1908.10084
    """
    if u.ndim != 2 or u.shape != v.shape or label.shape != u.shape[:1]:
        raise ValueError(
            "u, v and label must be [B, D], [B, D] and [B], got "
            f"{u.shape}, {v.shape} and {label.shape}"
        )
    if kernel.ndim != 2 or kernel.shape[0] != 3 * u.shape[1]:
        raise ValueError(f"kernel must be [{3 * u.shape[1]}, C], got {kernel.shape}")
    mask = _kept(mask, len(label))
    u, v = (jnp.where(mask[:, None], numerics.widened(a), 0.0) for a in (u, v))
    features = pair_features(u, v)
    label = jnp.where(mask, label, 0)
    wide = numerics.widened(kernel)
    logits = jnp.matmul(features, wide, precision=jax.lax.Precision.HIGHEST)
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, label)
    return _mean(losses, mask)


def _distance(x, y):
    square = jnp.sum(jnp.square(x - y), axis=-1)
    some = square > 0.0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)


def triplet_loss(
    anchor: jax.Array,
    positive: jax.Array,
    negative: jax.Array,
    mask: jax.Array | None = None,
    *,
    margin: float = 1.0,
) -> jax.Array:
    r"""Mean of :math:`\max(\|a - p\| - \|a - n\| + m, 0)`, Sentence-BERT's of triplets.

    Args:
      anchor, positive, negative: ``[B, D]``, vectors of a text, of one like it and of
        one less like it, any float dtype.
      mask: bool ``[B]``; True keeps a triplet. None: all.
      margin: m, by how much the second distance should be greater.

    Returns:
      ``[]`` float32, or float64 if an argument is; 0 if no triplet is kept.

    Raises:
      ValueError: if the shapes disagree, or `mask` is not bool.

    Numerics: gradients at equal vectors are 0.

    Source: Reimers and Gurevych, https://arxiv.org/abs/1908.10084
    """
    if anchor.ndim != 2 or not anchor.shape == positive.shape == negative.shape:
        raise ValueError(
            "anchor, positive and negative must all be [B, D], got "
            f"{anchor.shape}, {positive.shape} and {negative.shape}"
        )
    mask = _kept(mask, len(anchor))
    anchor, positive, negative = (
        jnp.where(mask[:, None], numerics.widened(a), 0.0)
        for a in (anchor, positive, negative)
    )
    apart = _distance(anchor, positive) - _distance(anchor, negative)
    return _mean(jnp.maximum(apart + margin, 0.0), mask)
