"""A token told from its two neighbours by counts alone: what a model has to beat."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class NeighbourCounts(NamedTuple):
    """Counts of tokens and of pairs of neighbours in a text.

    Attributes:
      single: int64 ``[V]``, how often each token stands in the text.
      pairs: int64 ``[P]``, sorted, ``left * V + right`` of each pair that occurs.
      counts: int64 ``[P]``, how often it does.
      turned: int64 ``[P]``, an order of the pairs by their right tokens.
      rights: int64 ``[P]``, the right tokens in that order.
      strength: how many observations the counts of single tokens are worth.
    """

    single: np.ndarray
    pairs: np.ndarray
    counts: np.ndarray
    turned: np.ndarray
    rights: np.ndarray
    strength: float


def counted(
    rows: np.ndarray, kept: np.ndarray, *, vocabulary: int, strength: float
) -> NeighbourCounts:
    """Counts tokens and pairs of neighbours.

    Args:
      rows: int ``[N, T]`` in ``[0, V)``.
      kept: bool ``[N, T]``, True for a token.
      vocabulary: V.
      strength: as in `NeighbourCounts`, above 0.

    Raises:
      ValueError: if `strength` is not above 0, or no token is kept.
    """
    if strength <= 0.0 or not kept.any():
        raise ValueError(
            f"counts need a token and a strength above 0, got {kept.sum()} tokens and "
            f"{strength}"
        )
    single = np.bincount(rows[kept], minlength=vocabulary)
    both = kept[:, 1:] & kept[:, :-1]
    keys = rows[:, :-1][both].astype(np.int64) * vocabulary + rows[:, 1:][both]
    pairs, counts = np.unique(keys, return_counts=True)
    rights = pairs % vocabulary
    turned = np.argsort(rights, kind="stable")
    return NeighbourCounts(single, pairs, counts, turned, rights[turned], strength)


def best_strength(
    rows: np.ndarray,
    kept: np.ndarray,
    *,
    vocabulary: int,
    strengths: Sequence[float] = (1.0, 4.0, 16.0, 64.0, 256.0),
    places: int = 1000,
    seed: int = 0,
) -> float:
    """Returns the strength with which most of a text tells the rest of it best.

    Counts of nine tenths of the rows tell tokens between known neighbours in the last
    tenth.

    Args:
      rows, kept, vocabulary: as in `counted`; at least 10 rows.
      strengths: those to choose from.
      places: how many tokens are told, drawn with `seed`.
      seed: not negative.
    """
    cut = len(rows) - len(rows) // 10
    inner = kept[cut:, :-2] & kept[cut:, 1:-1] & kept[cut:, 2:]
    found = np.argwhere(inner)
    draws = np.random.Generator(np.random.Philox(seed))
    found = found[draws.permutation(len(found))[:places]]
    known = counted(rows[:cut], kept[:cut], vocabulary=vocabulary, strength=1.0)

    def told(strength: float) -> float:
        own = known._replace(strength=strength)
        nats = 0.0
        for row, at in found:
            left, token, right = map(int, rows[cut + row, at : at + 3])
            nats += np.log(probabilities(own, left, right)[token])
        return nats

    return max(strengths, key=told)


def probabilities(
    known: NeighbourCounts, left: int | None, right: int | None
) -> np.ndarray:
    r"""Returns how likely each token is between two others.

    .. math:: P(v \mid l, r) \propto P(v \mid l)\, P(r \mid v)

    where each factor is a count of pairs, to which `strength` observations are added
    that are distributed as single tokens are. A neighbour of None is not known, and its
    factor is 1 or, of the left one, the distribution of single tokens.

    Args:
      known: counts.
      left, right: the neighbours.

    Returns:
      float64 ``[V]``, none of them 0; their sum is 1.
    """
    size, strength = len(known.single), known.strength
    found = (known.single + 1.0) * (strength / (known.single.sum() + size))
    single = found[right] if right is not None else 0.0
    if left is not None:
        first, last = np.searchsorted(known.pairs, [left * size, (left + 1) * size])
        found[known.pairs[first:last] % size] += known.counts[first:last]
    if right is not None:
        first, last = np.searchsorted(known.rights, [right, right + 1])
        own = known.turned[first:last]
        precedes = np.full(size, single)
        precedes[known.pairs[own] // size] += known.counts[own]
        found *= precedes / (known.single + strength)
    return found / found.sum()


class NeighbourScores(NamedTuple):
    """How well counts tell tokens: bits of a token, and the share that is right."""

    bits: float
    accuracy: float
    often: float


def neighbour_scores(
    known: NeighbourCounts,
    tokens: np.ndarray,
    places: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray,
    *,
    unknown: Sequence[int],
    never: Sequence[int] = (),
) -> NeighbourScores:
    """Returns how well counts tell what is hidden, given what a model reads.

    Args:
      known: counts.
      tokens: int ``[N, T]``, what is read.
      places, targets, weight: ``[N, M]``, of `kexue_jax.algorithms.masking.Masked`.
      unknown: tokens that say nothing of what stands there, such as [MASK].
      never: tokens that are never to be told, such as marks.

    Returns:
      Mean bits, the share whose most likely token is right, and the share of the most
      frequent token of the text among the targets.

    Raises:
      ValueError: if there is nothing to tell.
    """
    if not (weight > 0).any():
        raise ValueError("weight must be above 0 somewhere, got none")
    length, hidden = tokens.shape[1], set(unknown)
    alone, marks = known.single.copy(), [*never]
    alone[marks] = -1
    common = int(np.argmax(alone))

    def beside(row: int, at: int) -> int | None:
        token = int(tokens[row, at]) if 0 <= at < length else None
        return None if token in hidden else token

    bits, right, often = [], [], []
    for row, place in zip(*np.nonzero(weight > 0), strict=True):
        at, target = int(places[row, place]), int(targets[row, place])
        found = probabilities(known, beside(row, at - 1), beside(row, at + 1))
        found[marks] = 0.0
        bits.append(np.log2(found.sum() / found[target]))
        right.append(int(np.argmax(found)) == target)
        often.append(common == target)
    return NeighbourScores(*(float(np.mean(x)) for x in (bits, right, often)))
