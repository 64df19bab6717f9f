"""What two sequences have in common: subsequences, substrings, shares of both."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np


class Shares(NamedTuple):
    """Of what was predicted the part that is right, of what is right the part found.

    0/0 is 0 in all three; `f1` is the harmonic mean of the other two.
    """

    precision: float
    recall: float
    f1: float


def shares(common: float, predicted: float, gold: float) -> Shares:
    """Returns the shares of what two sides have in common.

    Args:
      common: its size.
      predicted, gold: sizes of the sides.

    >>> shares(1, 2, 4)
    Shares(precision=0.5, recall=0.25, f1=0.3333333333333333)
    """
    return Shares(
        common / predicted if predicted else 0.0,
        common / gold if gold else 0.0,
        2.0 * common / (predicted + gold) if predicted + gold else 0.0,
    )


def _equal(first, second):
    """Whether items of two sequences are equal, ``[T, S]``."""
    known: dict[Hashable, int] = {}
    both = [
        np.array([known.setdefault(item, len(known)) for item in sequence], int)
        for sequence in (first, second)
    ]
    return both[0][:, None] == both[1][None, :]


def _subsequence_lengths(equal):
    """Lengths ``[T + 1, S + 1]`` of the longest common subsequence of prefixes."""
    table = np.zeros((equal.shape[0] + 1, equal.shape[1] + 1), int)
    for at, row in enumerate(equal):
        best = np.maximum(table[at, 1:], table[at, :-1] + row)
        table[at + 1, 1:] = np.maximum.accumulate(best)
    return table


def common_subsequence_length(
    first: Sequence[Hashable], second: Sequence[Hashable]
) -> int:
    """Returns how many items the longest common subsequence has; they may lie apart.

    >>> common_subsequence_length("abcde", "xaxcxe")
    3
    """
    return int(_subsequence_lengths(_equal(first, second))[-1, -1])


def common_subsequence(
    first: Sequence[Hashable], second: Sequence[Hashable]
) -> list[Hashable]:
    """Returns the items of one longest common subsequence.

    Of several it is the one that is met when both are read from their ends: equal items
    are taken, and otherwise one of `second` is left out, unless that shortens what is
    left.
    """
    table = _subsequence_lengths(_equal(first, second))
    found, i, j = [], len(first), len(second)
    while i and j:
        if first[i - 1] == second[j - 1]:
            i, j = i - 1, j - 1
            found.append(first[i])
        elif table[i - 1, j] > table[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return found[::-1]


def common_substring_length(
    first: Sequence[Hashable], second: Sequence[Hashable]
) -> int:
    """Returns how many items the longest common run has.

    >>> common_substring_length("abcde", "xabxcde")
    3
    """
    longest, run = 0, np.zeros(len(second) + 1, int)
    for row in _equal(first, second):
        run[1:] = np.where(row, run[:-1] + 1, 0)
        longest = max(longest, int(run.max()))
    return longest
