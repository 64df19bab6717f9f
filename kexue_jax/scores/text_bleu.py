"""BLEU of texts on the host: the mean of the posts, and that of sacrebleu.

`kexue_jax.scores.bleu` has BLEU of token arrays, which can be compiled. A mean over
sentences is another number than the BLEU of a corpus.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from importlib import import_module
from typing import Literal


def _grams(tokens, order):
    return Counter(zip(*(tokens[n:] for n in range(order)), strict=False))


def floored_bleu(
    predicted: Sequence[Hashable],
    references: Sequence[Sequence[Hashable]],
    *,
    order: int = 4,
    floor: float = 0.1,
) -> float:
    r"""Returns BLEU of one sentence, in which no precision is 0.

    .. math:: \min\big(1, e^{1 - r/c}\big) \prod_{n \le N} p_n^{1/N}, \quad
              p_n = \frac{\max(m_n,\ \epsilon\ \text{if}\ m_n = 0)}{\max(1, t_n)}

    m of the t n-grams are in a reference, each as often as there. Also a sentence of
    fewer than N tokens has N precisions, of which the last are the floor:
    `kexue_jax.scores.bleu.sentence_bleu` with ``smoothing="floor"`` leaves those out,
    and is the same from N tokens on.

    Args:
      predicted: c tokens.
      references: at least one; r is the length nearest to c, the shorter of two as
        near.
      order: N.
      floor: :math:`\epsilon`.

    Returns:
      float from 0 to 1; 0 where no token is in a reference.

    Raises:
      ValueError: if there are no references.

    Source: ``sentence_bleu`` of NLTK 3.2.5 with ``SmoothingFunction().method1``, after
      Chen and Cherry, 2014.

    >>> round(floored_bleu("abcd", ["abce"]), 4)
    0.3976
    """
    if not references:
        raise ValueError("references must be at least one, got none")
    logs = []
    for n in range(1, order + 1):
        own, most = _grams(predicted, n), Counter()
        for reference in references:
            most |= _grams(reference, n)
        matches = (own & most).total()
        if n == 1 and not matches:
            return 0.0
        logs.append(math.log((matches or floor) / max(1, own.total())))
    length = len(predicted)
    nearest = min(map(len, references), key=lambda n: (abs(n - length), n))
    return math.exp(min(0.0, 1.0 - nearest / length) + sum(logs) / order)


def mean_character_bleu(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Returns the mean over texts of `floored_bleu` of their characters.

    Args:
      predicted, gold: texts, at least one; case does not matter. An empty prediction
        scores 0. A space makes two tokens, both the same.

    Raises:
      ValueError: if they are not as many, or none.

    Source: https://kexue.fm/archives/7259
    """
    if len(predicted) != len(gold) or not gold:
        raise ValueError(
            "predicted and gold must be as many texts, at least one, got "
            f"{len(predicted)} and {len(gold)}"
        )
    total = 0.0
    for pair in zip(predicted, gold, strict=True):
        own, other = (" ".join(text).lower().split(" ") for text in pair)
        total += floored_bleu(own, [other]) if pair[0].strip() else 0.0
    return total / len(gold)


def corpus_text_bleu(
    predicted: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: Literal["zh", "char", "13a", "intl", "none"] = "zh",
) -> float:
    """Returns BLEU of a corpus of texts as sacrebleu gives it, from 0 to 1.

    Args:
      predicted: texts.
      references: one text for each in every row.
      tokenize: ``"zh"`` makes Chinese characters tokens and leaves other words whole,
        ``"char"`` all characters; the others are for languages with spaces.

    Raises:
      ValueError: if a row of references is not as long as `predicted`.
      ModuleNotFoundError: if sacrebleu is not installed.

    Source: Post, 2018.
    """
    wrong = [len(row) for row in references if len(row) != len(predicted)]
    if wrong or not references:
        raise ValueError(
            f"references must be rows of {len(predicted)} texts, at least one, got "
            f"{[len(row) for row in references]}"
        )
    scorer = import_module("sacrebleu.metrics.bleu").BLEU(tokenize=tokenize)
    return scorer.corpus_score([*predicted], [[*row] for row in references]).score / 100
