"""ROUGE of token sequences, standard and in the convention of the posts.

They differ: the posts' ROUGE-L counts distinct tokens. A table has to name the one it
uses. Sequences of characters are the tokens of Chinese.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from kexue_jax.scores.overlaps import (
    Shares,
    common_subsequence,
    common_subsequence_length,
    shares,
)


class CharacterRouge(NamedTuple):
    """Mean F1 of ROUGE-1, ROUGE-2 and ROUGE-L."""

    rouge_1: float
    rouge_2: float
    rouge_l: float


def _grams(tokens, order):
    return Counter(zip(*(tokens[n:] for n in range(order)), strict=False))


def rouge_n(
    predicted: Sequence[Hashable], gold: Sequence[Hashable], *, order: int
) -> Shares:
    """Returns the shares of n-grams in common, each counted as often as both have it.

    Args:
      predicted, gold: tokens.
      order: n, at least 1.

    Raises:
      ValueError: if `order` is less than 1.

    >>> rouge_n("ababab", "abcd", order=1)
    Shares(precision=0.3333333333333333, recall=0.5, f1=0.4)
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    own, other = _grams(predicted, order), _grams(gold, order)
    return shares((own & other).total(), own.total(), other.total())


def distinct_rouge_n(
    predicted: Sequence[Hashable], gold: Sequence[Hashable], *, order: int
) -> Shares:
    """Returns the shares of n-grams in common, each counted once.

    Something said over and over costs nothing here.

    Args:
      predicted, gold: tokens.
      order: n, at least 1.

    Raises:
      ValueError: if `order` is less than 1.

    Source: as the package ``rouge`` 1.0.1 has it, unless it is told otherwise.

    >>> round(distinct_rouge_n("ababab", "abcd", order=1).f1, 4)
    0.6667
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    own, other = set(_grams(predicted, order)), set(_grams(gold, order))
    return shares(len(own & other), len(own), len(other))


def rouge_l(predicted: Sequence[Hashable], gold: Sequence[Hashable]) -> Shares:
    """Returns the shares of the longest common subsequence.

    >>> rouge_l("ababab", "abcd").f1
    0.4
    """
    common = common_subsequence_length(predicted, gold)
    return shares(common, len(predicted), len(gold))


def distinct_rouge_l(
    predicted: Sequence[Sequence[Hashable]], gold: Sequence[Sequence[Hashable]]
) -> Shares:
    """Returns the shares of distinct tokens on the longest common subsequences.

    Tokens are collected from the `common_subsequence` of each sentence of the one side
    with each of the other, and compared with the distinct tokens of each side.

    Args:
      predicted, gold: sentences, which are sequences of tokens.

    Source: as the package ``rouge`` 1.0.0 computes ROUGE-L.

    >>> distinct_rouge_l(["ababab"], ["abcd"])
    Shares(precision=1.0, recall=0.5, f1=0.6666666666666666)
    """
    common = {
        token
        for reference in gold
        for sentence in predicted
        for token in common_subsequence(reference, sentence)
    }
    own, other = ({t for s in side for t in s} for side in (predicted, gold))
    return shares(len(common), len(own), len(other))


def _sentences(text):
    """Lower case, characters with spaces between, cut at points."""
    spaced = " ".join(text).lower()
    return [part.split() or [""] for part in spaced.split(".") if part]


def mean_character_rouge(
    predicted: Sequence[str], gold: Sequence[str]
) -> CharacterRouge:
    """Returns the means over texts of the posts' ROUGE.

    Tokens are characters in lower case, sentences end at ``.``; ROUGE-1 and ROUGE-2 are
    `rouge_n` of all sentences in a row, and ROUGE-L is `distinct_rouge_l`.

    Args:
      predicted, gold: texts, at least one. An empty prediction scores 0.

    Raises:
      ValueError: if they are not as many, or none.

    Source: https://kexue.fm/archives/7259 with ``rouge`` 1.0.0; since 1.0.1 that
      package counts distinct n-grams, and gives more for repetitions.

    >>> mean_character_rouge(["北京 大学", ""], ["北京大学", "北京"]).rouge_1
    0.5
    """
    if len(predicted) != len(gold) or not gold:
        raise ValueError(
            "predicted and gold must be as many texts, at least one, got "
            f"{len(predicted)} and {len(gold)}"
        )
    totals = [0.0, 0.0, 0.0]
    for pair in zip(predicted, gold, strict=True):
        own, other = map(_sentences, pair)
        flat = [[token for s in side for token in s] for side in (own, other)]
        if not pair[0].strip():
            continue
        totals[0] += rouge_n(*flat, order=1).f1
        totals[1] += rouge_n(*flat, order=2).f1
        totals[2] += distinct_rouge_l(own, other).f1
    return CharacterRouge(*(total / len(gold) for total in totals))
