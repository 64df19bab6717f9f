"""Answers as spans of a text: the best ones by the probabilities of their ends."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics


class AnswerSpans(NamedTuple):
    """The best spans, by falling score.

    Attributes:
      start, end: ``[..., N]`` int32, both included; -1 where there are fewer spans.
      score: ``[..., N]`` float32, sums of logarithms; -inf where there are fewer.
    """

    start: jax.Array
    end: jax.Array
    score: jax.Array


def best_span(
    start_log_probs: jax.Array,
    end_log_probs: jax.Array,
    kept: jax.Array | None = None,
    *,
    longest: int = 16,
    count: int = 1,
) -> AnswerSpans:
    r"""The spans of the greatest probability that are neither too long nor reversed.

    .. math:: \max_{i \le j < i + L} \log p_s(i) + \log p_e(j)

    Args:
      start_log_probs, end_log_probs: ``[..., T]``, any float dtype. Scores that are not
        normalised give the same spans.
      kept: bool ``[..., T]``; True keeps a token, such as those of the context and not
        of the question. A span begins and ends at one, whatever lies between.
      longest: L, tokens a span has at most.
      count: N, how many spans to return.

    Returns:
      The `AnswerSpans`; of equal scores those that start, and then end, first.

    Raises:
      ValueError: if the shapes disagree, `kept` is not bool, or a number is below 1.

    Numerics: logarithms are added, as products of probabilities underflow.

    Source: https://kexue.fm/archives/7321

    >>> start, end = jnp.log(jnp.array([[0.2, 0.8], [0.9, 0.1]]))
    >>> best_span(start, end).start.tolist(), best_span(start, end).end.tolist()
    ([0], [0])
    """
    shape = start_log_probs.shape
    if not shape or end_log_probs.shape != shape:
        raise ValueError(
            "start_log_probs and end_log_probs must both be [..., T], got "
            f"{shape} and {end_log_probs.shape}"
        )
    if kept is not None and (kept.dtype != jnp.bool_ or kept.shape != shape):
        raise ValueError(f"kept must be bool {shape}, got {kept.dtype} {kept.shape}")
    if longest < 1 or count < 1:
        raise ValueError(
            f"longest and count must be at least 1, got {longest} and {count}"
        )
    start, end = map(numerics.widened, (start_log_probs, end_log_probs))
    if kept is not None:
        start, end = (jnp.where(kept, x, -jnp.inf) for x in (start, end))
    longest = min(longest, shape[-1])
    place = jnp.arange(shape[-1])[:, None] + jnp.arange(longest)[None, :]
    ends = jnp.take(end, place, axis=-1, mode="fill", fill_value=-jnp.inf)
    scores = (start[..., None] + ends).reshape(*shape[:-1], -1)
    score, flat = jax.lax.top_k(scores, min(count, scores.shape[-1]))
    missing = [(0, 0)] * (len(shape) - 1) + [(0, count - score.shape[-1])]
    score = jnp.pad(score, missing, constant_values=-jnp.inf)
    flat = jnp.pad(flat.astype(jnp.int32), missing)
    found, first = score > -jnp.inf, flat // max(longest, 1)
    last = first + flat % max(longest, 1)
    return AnswerSpans(jnp.where(found, first, -1), jnp.where(found, last, -1), score)


def decode_half_pointers(
    start: np.ndarray, end: np.ndarray, *, threshold: float = 0.5
) -> list[tuple[int, int]]:
    """Returns spans of one text from starts and ends that were judged apart.

    Each start is joined with the nearest end at or behind it, so that one end may close
    many spans, and a start behind all ends begins none. A span that lies within another
    and ends first takes the end of both.

    Args:
      start, end: ``[T]``, probabilities or scores, of the host.
      threshold: above which a token is a start or an end.

    Returns:
      Pairs of a start and an end, both included, by their starts.

    Raises:
      ValueError: if `start` and `end` are not both ``[T]``.

    Source: https://kexue.fm/archives/7161

    >>> decode_half_pointers(np.array([0.9, 0.0, 0.7]), np.array([0.0, 0.6, 0.8]))
    [(0, 1), (2, 2)]
    """
    start, end = np.asarray(start), np.asarray(end)
    if start.ndim != 1 or start.shape != end.shape:
        raise ValueError(
            f"start and end must both be [T], got {start.shape} and {end.shape}"
        )
    starts, ends = (np.flatnonzero(x > threshold) for x in (start, end))
    nearest = np.searchsorted(ends, starts)
    some = nearest < len(ends)
    closing = ends[nearest[some]]
    return list(zip(starts[some].tolist(), closing.tolist(), strict=True))
