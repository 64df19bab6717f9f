"""Spans on the host: read from scores, freed of overlaps, and padded for a loss.

Spans include both ends. The functions take NumPy arrays, so that a device is asked for
its scores once and nothing of a changing size is compiled.
"""

import bisect
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

NOBODY = -1  # what fills rows of pairs up


class Span(NamedTuple):
    """A span of one type, from `start` to `end`, both included, with its score."""

    type: int
    start: int
    end: int
    score: float = 0.0


def decode_spans(
    scores: np.ndarray, *, threshold: float = 0.0, most: int | None = None
) -> list[Span]:
    """Returns the spans of one text that score above a threshold.

    Args:
      scores: ``[C, T, S]`` float, of types, starts and ends, as a GlobalPointer gives
        them; what is no span is -inf.
      threshold: that of the loss, or higher for fewer and surer spans.
      most: only so many are returned, those that score highest, as a model that knows
        nothing has T^2 of each type; None returns all.

    Returns:
      `Span` tuples, by type, start and end. They may overlap.

    Raises:
      ValueError: if `scores` is not ``[C, T, S]``, or `most` is below 1.

    Source: https://kexue.fm/archives/8373

    >>> decode_spans(np.array([[[-1.0, 2.5], [-np.inf, -3.0]]]))
    [Span(type=0, start=0, end=1, score=2.5)]
    """
    scores = np.asarray(scores)
    if scores.ndim != 3:
        raise ValueError(f"scores must be [C, T, S], got {scores.shape}")
    return decode_batch(scores[None], threshold=threshold, most=most)[0]


def decode_batch(
    scores: np.ndarray, *, threshold: float = 0.0, most: int | None = None
) -> list[list[Span]]:
    """Returns the spans of each text of ``[B, C, T, S]``, as `decode_spans` does.

    Raises:
      ValueError: if `scores` is not ``[B, C, T, S]``, or `most` is below 1.
    """
    scores = np.asarray(scores)
    if scores.ndim != 4:
        raise ValueError(f"scores must be [B, C, T, S], got {scores.shape}")
    if most is not None and most < 1:
        raise ValueError(f"most must be None or at least 1, got {most}")
    if not scores.size:
        return [[] for _ in scores]
    texts, types, starts, ends = scores.shape
    maps = scores.reshape(texts * types, starts * ends)
    # One pass over all scores leaves the few places where any map has a span.
    some = np.flatnonzero(np.fmax.reduce(maps, axis=0) > threshold)
    few = maps[:, some]
    which, at = np.nonzero(few > threshold)
    text, kind = np.divmod(which, types)
    columns = (kind, *np.divmod(some[at], ends), few[which, at])
    cuts = np.searchsorted(text, np.arange(texts + 1)).tolist()
    parts = (slice(*own) for own in itertools.pairwise(cuts))
    return [_surest([c[own] for c in columns], most) for own in parts]


def _surest(columns, most):
    """Spans of one text in their order, only those of the highest scores."""
    *_, scores = columns
    if most is not None and len(scores) > most:
        highest = np.sort(np.argpartition(-scores, most - 1)[:most])
        columns = [own[highest] for own in columns]
    return list(map(Span, *(own.tolist() for own in columns)))


def certain_scores(pairs: np.ndarray, size: int) -> np.ndarray:
    """Scores of gold pairs as a model that is certain of them would have them.

    Args:
      pairs: ``[C, K, 2]`` integers, and -1 where there is none.
      size: T.

    Returns:
      ``[C, T, T]`` float64, inf for a pair and -inf for all others, so that at any
      threshold they are read back.

    >>> certain_scores(np.array([[[0, 1], [-1, -1]]]), 2).tolist()
    [[[-inf, inf], [-inf, -inf]]]
    """
    scores = np.full((len(pairs), size, size), -np.inf)
    kind, at = np.nonzero(pairs[..., 0] >= 0)
    scores[(kind, *pairs[kind, at].T)] = np.inf
    return scores


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """Returns spans no two of which share a token, the best first to be kept.

    It is for texts whose entities are known to be flat. A span is dropped if it meets
    one of a higher score, of any type; of equal scores the earlier and then the longer
    is kept.

    Args:
      spans: in any order.

    Returns:
      Those that are kept, by their starts.

    >>> without_overlaps([Span(0, 0, 3, 1.0), Span(1, 3, 4, 2.0), Span(0, 5, 5, 0.5)])
    [Span(type=1, start=3, end=4, score=2.0), Span(type=0, start=5, end=5, score=0.5)]
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.score, s.start, -s.end, s.type)):
        place = bisect.bisect_left(kept, span.start, key=lambda s: s.start)
        after = place == len(kept) or span.end < kept[place].start
        if after and (place == 0 or kept[place - 1].end < span.start):
            kept.insert(place, span)
    return kept


def span_probability(score: np.ndarray | float) -> np.ndarray:
    r"""Returns :math:`\sigma(2 s)`, the probability that a score stands for.

    The multi-label loss of labels that are right with probability t is least where
    :math:`t = \sigma(2 s)`, and not where :math:`t = \sigma(s)`.

    Args:
      score: s, any shape.

    Returns:
      float64 in the shape of `score`; 0 for a score of -inf.

    Source: https://kexue.fm/archives/9064

    >>> span_probability(np.array([0.0, -np.inf])).tolist()
    [0.5, 0.0]
    """
    return 0.5 * (1.0 + np.tanh(np.asarray(score, np.float64)))


def padded_pairs(
    rows: Sequence[Sequence[Sequence[tuple[int, int]]]], *, size: int | None = None
) -> np.ndarray:
    """Pairs of places of each text and map, filled up to one size.

    Args:
      rows: for each of B texts and each of C maps, pairs; one that comes twice is
        taken once.
      size: K, into which the most pairs have to fit; default as many as there are.

    Returns:
      ``[B, C, K, 2]`` int32, ascending, and -1 where there is no pair.

    Raises:
      ValueError: if a text has another number of maps, or more than K pairs.
    """
    distinct = [[sorted(set(pairs)) for pairs in maps] for maps in rows]
    most = max((len(pairs) for maps in distinct for pairs in maps), default=0)
    size = most if size is None else size
    if most > size:
        raise ValueError(f"size must be at least {most}, the most pairs, got {size}")
    counts = {len(maps) for maps in distinct}
    if len(counts) > 1:
        raise ValueError(f"every text must have as many maps, got {sorted(counts)}")
    shape = (len(distinct), *(counts or {0}), size, 2)
    found = np.full(shape, NOBODY, np.int32)
    for text, maps in enumerate(distinct):
        for at, pairs in enumerate(maps):
            found[text, at, : len(pairs)] = np.reshape(pairs, (-1, 2))
    return found


def span_positives(
    texts: Sequence[Iterable[Span]], *, types: int, size: int | None = None
) -> np.ndarray:
    """Gold spans of each text as a loss takes them.

    Args:
      texts: for each of B texts, spans or ``(type, start, end)``, both ends included.
      types: C.
      size: K; see `padded_pairs`.

    Returns:
      ``[B, C, K, 2]`` int32, and -1 where there is no span.

    Raises:
      ValueError: if a span has no such type or ends before it starts, which is what
        ends that are not included look like, or there are more than K.

    >>> span_positives([[(1, 0, 2)], []], types=2).tolist()
    [[[[-1, -1]], [[0, 2]]], [[[-1, -1]], [[-1, -1]]]]
    """
    rows = []
    for spans in texts:
        maps: list[list[tuple[int, int]]] = [[] for _ in range(types)]
        for kind, start, end, *_ in spans:
            if not 0 <= kind < types or not 0 <= start <= end:
                raise ValueError(
                    f"spans must be (type, start, end), type below {types} and end not "
                    f"below start, got {(kind, start, end)}"
                )
            maps[kind].append((start, end))
        rows.append(maps)
    return padded_pairs(rows, size=size)
