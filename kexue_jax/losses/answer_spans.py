"""Losses of answers: of their starts and ends, judged apart, and of whole spans.

`span_pointer_loss` chooses a start and an end among all tokens; `span_cross_entropy`
and `expected_f1_loss` one span among all spans. `power_binary_cross_entropy` asks of
each token whether it is an end, and may so find many.
"""

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.algorithms.log_sum_exp import log_sum_exp


def span_pointer_loss(
    start_scores: jax.Array,
    end_scores: jax.Array,
    start: jax.Array,
    end: jax.Array,
    kept: jax.Array | None = None,
) -> jax.Array:
    r"""Mean of two cross-entropies, of where an answer starts and where it ends.

    .. math:: -\tfrac{1}{2} \big(\log p_s(i) + \log p_e(j)\big), \quad
              p = \mathrm{softmax}(s)

    Args:
      start_scores, end_scores: s, ``[..., T]``, any float dtype.
      start, end: i and j, ``[...]`` integers. A row whose start or end is not among the
        tokens kept, as -1 is not, has no answer.
      kept: bool ``[..., T]``; True keeps a token. None: all.

    Returns:
      ``[...]`` float32, or float64 if the scores are; 0 for a row without an answer.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Numerics: gradients are finite at any scores, and zero where nothing is kept.

    Source: https://kexue.fm/archives/7321
    """
    shape = start_scores.shape
    if not shape or end_scores.shape != shape:
        raise ValueError(
            "start_scores and end_scores must both be [..., T], got "
            f"{shape} and {end_scores.shape}"
        )
    if start.shape != shape[:-1] or end.shape != shape[:-1]:
        raise ValueError(
            f"start and end must be {shape[:-1]}, got {start.shape} and {end.shape}"
        )
    if kept is None:
        kept = jnp.ones(shape, bool)
    if kept.dtype != jnp.bool_ or kept.shape != shape:
        raise ValueError(f"kept must be bool {shape}, got {kept.dtype} {kept.shape}")

    places = jnp.arange(shape[-1]).reshape((1,) * (len(shape) - 1) + (-1,))
    rights = [kept & (places == own[..., None]) for own in (start, end)]
    answered = jnp.any(rights[0], axis=-1) & jnp.any(rights[1], axis=-1)

    def cross_entropy(scores, right):
        scores = jnp.where(kept, numerics.widened(scores), -jnp.inf)
        own = jnp.sum(jnp.where(right, scores, 0.0), axis=-1)
        total = log_sum_exp(scores)
        return jnp.where(answered, total, 0.0) - jnp.where(answered, own, 0.0)

    parts = map(cross_entropy, (start_scores, end_scores), rights)
    return 0.5 * sum(parts)


def _ends(shape):
    """The start and the end of each span of ``[..., T, T]``."""
    axes = len(shape) - 2, len(shape) - 1
    return (jax.lax.broadcasted_iota(jnp.int32, shape, axis) for axis in axes)


def _span_log_probabilities(scores, start, end, kept):
    """Checks all; returns log p and where there are spans, and who has an answer."""
    if scores.ndim < 2 or scores.shape[-1] != scores.shape[-2]:
        raise ValueError(f"scores must be [..., T, T], got {scores.shape}")
    shape = scores.shape[:-1]
    if start.shape != shape[:-1] or end.shape != shape[:-1]:
        raise ValueError(
            f"start and end must be {shape[:-1]}, got {start.shape} and {end.shape}"
        )
    kept = jnp.ones(shape, bool) if kept is None else kept
    if kept.dtype != jnp.bool_ or kept.shape != shape:
        raise ValueError(f"kept must be bool {shape}, got {kept.dtype} {kept.shape}")
    scores = numerics.widened(scores)
    spans = jnp.triu(kept[..., :, None] & kept[..., None, :]) & (scores > -jnp.inf)
    scores = jnp.where(spans, scores, -jnp.inf)
    total = log_sum_exp(scores.reshape(*shape[:-1], -1))[..., None, None]
    first, last = _ends(spans.shape)
    right = spans & (first == start[..., None, None]) & (last == end[..., None, None])
    answered = jnp.any(right, axis=(-2, -1))
    logs = jnp.where(spans, scores, 0.0) - jnp.where(jnp.isfinite(total), total, 0.0)
    return logs, spans, right, answered


def span_cross_entropy(
    scores: jax.Array,
    start: jax.Array,
    end: jax.Array,
    kept: jax.Array | None = None,
) -> jax.Array:
    r"""Cross-entropy of one span among all, :math:`-\log p(i, j)`.

    Args:
      scores: ``[..., T, T]`` of a start and an end, any float dtype; -inf for what is
        no span. What ends before it starts is none either.
      start, end: i and j, ``[...]`` integers, both included. A row whose span is none
        has no answer.
      kept: bool ``[..., T]``; True keeps a token. None: all.

    Returns:
      ``[...]`` float32, or float64 if the scores are; 0 for a row without an answer.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Numerics: gradients are finite at any scores, and zero where there is no answer.

    Source: https://kexue.fm/archives/8373
    """
    logs, _, right, answered = _span_log_probabilities(scores, start, end, kept)
    found = jnp.sum(jnp.where(right, logs, 0.0), axis=(-2, -1))
    return jnp.where(answered, -found, 0.0)


def expected_f1_loss(
    scores: jax.Array,
    start: jax.Array,
    end: jax.Array,
    kept: jax.Array | None = None,
    *,
    entropy_weight: float = 0.0,
) -> jax.Array:
    r"""The F1 that a span drawn by the scores has, negative, and its entropy.

    .. math:: -\sum_{a \le b} p(a, b)\, F_1(a, b) + \lambda \sum_{a \le b} p \log p

    F1 is that of tokens, twice those shared with the answer by the sum of both lengths.
    It is what is reported, and has no gradient where the model is certain.

    Args:
      scores, start, end, kept: of `span_cross_entropy`.
      entropy_weight: :math:`\lambda`; above 0 keeps p from becoming certain.

    Returns:
      ``[...]`` float32, or float64 if the scores are; 0 for a row without an answer.

    Raises:
      ValueError: if the shapes disagree, or `kept` is not bool.

    Numerics: gradients are finite at any scores, and zero where there is no answer.

    Source: https://kexue.fm/archives/8373
    """
    logs, spans, _, answered = _span_log_probabilities(scores, start, end, kept)
    chances = jnp.where(spans, jnp.exp(logs), 0.0)
    first, last = _ends(spans.shape)
    own_first, own_last = start[..., None, None], end[..., None, None]
    shared = jnp.minimum(last, own_last) - jnp.maximum(first, own_first) + 1
    lengths = (last - first + 1) + (own_last - own_first + 1)
    f1 = 2 * jnp.maximum(shared, 0) / jnp.maximum(lengths, 1)
    terms = chances * (entropy_weight * jnp.where(spans, logs, 0.0) - f1)
    return jnp.where(answered, jnp.sum(terms, axis=(-2, -1)), 0.0)


def power_binary_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    power: int,
    kept: jax.Array | None = None,
) -> jax.Array:
    r"""Binary cross-entropy of probabilities raised to a power.

    .. math:: -t \log p^k - (1 - t) \log (1 - p^k), \quad p = \sigma(x)

    A power weighs right labels k times and lets training start near 0, where labels
    that are seldom right should be.

    Args:
      logits: x, ``[...]``, any float dtype.
      labels: t, ``[...]``, bool or from 0 to 1.
      power: k, at least 1; 1 is the usual cross-entropy.
      kept: bool, broadcastable to ``[...]``; True keeps a label. None: all.

    Returns:
      ``[...]`` float32, or float64 if `logits` are: the loss of each label, 0 where it
      is not kept.

    Raises:
      ValueError: if the shapes disagree, `kept` is not bool, or `power` is below 1.

    Numerics: :math:`\log p^k = k \log \sigma(x)` and :math:`\log(1 - p^k) =
      \log \sigma(-x) + \log \sum_{m < k} p^m`, so values and gradients are finite at
      any logits, and exact where p rounds to 0 or 1.

    Source: https://kexue.fm/archives/7161, which has the powers 2 and 4.

    >>> power_binary_cross_entropy(jnp.array([-200.0, 200.0]), jnp.ones(2), 4).tolist()
    [800.0, 0.0]
    """
    if labels.shape != logits.shape:
        raise ValueError(
            f"labels must have the shape of logits, {logits.shape}, got {labels.shape}"
        )
    if power < 1:
        raise ValueError(f"power must be at least 1, got {power}")
    logits = numerics.widened(logits)
    if kept is not None:
        if kept.dtype != jnp.bool_ or kept.ndim != logits.ndim:
            raise ValueError(
                f"kept must be bool and broadcast to {logits.shape}, got {kept.dtype} "
                f"{kept.shape}"
            )
        logits = jnp.where(kept, logits, 0.0)
    labels = labels.astype(logits.dtype)
    probability, powers = jax.nn.sigmoid(logits), jnp.ones_like(logits)
    for _ in range(power - 1):
        powers = 1.0 + probability * powers
    present = power * jax.nn.log_sigmoid(logits)
    absent = jax.nn.log_sigmoid(-logits) + jnp.log(powers)
    losses = -labels * present - (1.0 - labels) * absent
    return losses if kept is None else jnp.where(kept, losses, 0.0)
