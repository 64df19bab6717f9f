"""Exact match and F1 of answers to questions on a text, by CMRC 2018 and by SQuAD."""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from kexue_jax.scores.overlaps import common_substring_length, shares

# What the scorer of CMRC 2018 takes out. It also names U+2026, but twice in one string,
# which no character is equal to: that stays.
_PUNCTUATION = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = ("\u4e00", "\u9fa5")
# A comma before a digit stays in its word, as does a point that is not the last.
_WORD = re.compile(r'(?:(?!\.\s*\Z)[^\s,;@#$%&?!"()\[\]{}<>—]|,(?=\d))+|\S')
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_WITHOUT = str.maketrans("", "", string.punctuation)


class ReadingScores(NamedTuple):
    """Means over questions from 0 to 1, and how many questions have no prediction."""

    exact_match: float
    f1: float
    unanswered: int


def latin_words(text: str) -> list[str]:
    """Splits what is not Chinese at spaces and around ASCII punctuation.

    It stands for the tokenizer of NLTK and gives the same segments, but for the form of
    quotation marks, of all but a few answers of CMRC 2018.

    >>> latin_words("ver. 3.5 of (1,000), u.s.")
    ['ver.', '3.5', 'of', '(', '1,000', ')', ',', 'u.s', '.']
    """
    return _WORD.findall(text)


def mixed_segments(
    text: str, *, words: Callable[[str], Sequence[str]] = latin_words
) -> list[str]:
    """Returns the segments of a text: Chinese characters, and words of the rest.

    Case, spaces around and the punctuation of the scorer do not matter. Punctuation
    within other words joins them.

    Args:
      text: any.
      words: splits what is between Chinese characters, which is in lower case.

    >>> mixed_segments("《Model-3》是 2017 年")
    ['model3', '是', '2017', '年']
    """
    segments, run = [], ""
    for character in text.lower().strip():
        if character in _PUNCTUATION:
            continue
        if _HAN[0] <= character <= _HAN[1]:
            segments += [*words(run), character]
            run = ""
        else:
            run += character
    return segments + [*words(run)]


def _some(answers):
    if isinstance(answers, str) or not answers:
        raise ValueError(f"answers must be at least one, in a list, got {answers!r}")
    return answers


def cmrc_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Returns 1 if a prediction is an answer, but for punctuation and case; else 0.

    Raises:
      ValueError: if there are no answers.
    """

    def plain(text):
        return "".join(c for c in text.lower().strip() if c not in _PUNCTUATION)

    return float(plain(prediction) in {plain(answer) for answer in _some(answers)})


def cmrc_f1(
    prediction: str,
    answers: Sequence[str],
    *,
    words: Callable[[str], Sequence[str]] = latin_words,
) -> float:
    """Returns the F1 of a prediction and the answer that it shares most with.

    What they share is their longest common run of `mixed_segments`.

    Args:
      prediction, answers: texts.
      words: as in `mixed_segments`. The published scorer takes ``nltk.word_tokenize``.

    Returns:
      float from 0 to 1; 0 where nothing is in common, also if both are empty.

    Raises:
      ValueError: if there are no answers.

    Source: the scorer of https://github.com/ymcui/cmrc2018 (Cui et al., 2019).

    >>> cmrc_f1("在北京大学", ["北京大学"])
    0.8888888888888888
    """
    own = mixed_segments(prediction, words=words)
    found = []
    for answer in _some(answers):
        other = mixed_segments(answer, words=words)
        common = common_substring_length(own, other)
        found.append(shares(common, len(own), len(other)).f1)
    return max(found)


def _squad_plain(text):
    text = _ARTICLE.sub(" ", text.lower().translate(_WITHOUT))
    return " ".join(text.split())


def squad_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Returns 1 if a prediction is an answer, but for case, punctuation and articles.

    Raises:
      ValueError: if there are no answers.

    >>> squad_exact_match("The Nile.", ["a nile"])
    1.0
    """
    plain = _squad_plain(prediction)
    return float(plain in {_squad_plain(answer) for answer in _some(answers)})


def squad_f1(prediction: str, answers: Sequence[str]) -> float:
    """Returns the F1 of bags of words, with the answer that is most alike.

    Of Chinese, which has no spaces, it makes one word: use `cmrc_f1`.

    Returns:
      float from 0 to 1; 0 where nothing is in common, also if both are empty.

    Raises:
      ValueError: if there are no answers.

    Source: Rajpurkar et al., 2016, the scorer of version 1.1.

    >>> squad_f1("in the old town", ["old town", "town hall"])
    0.8
    """
    own = Counter(_squad_plain(prediction).split())
    found = []
    for answer in _some(answers):
        other = Counter(_squad_plain(answer).split())
        common = (own & other).total()
        found.append(shares(common, own.total(), other.total()).f1)
    return max(found)


def reading_scores(
    predictions: Mapping[str, str],
    answers: Mapping[str, Sequence[str]],
    *,
    exact_match: Callable[[str, Sequence[str]], float] = cmrc_exact_match,
    f1: Callable[[str, Sequence[str]], float] = cmrc_f1,
) -> ReadingScores:
    """Returns the means over all questions; one without a prediction scores 0.

    Args:
      predictions: by the id of the question; those of other questions are passed over.
      answers: all that are right, by the id of the question; at least one question.
      exact_match, f1: of one question; those of CMRC 2018 by default.

    Raises:
      ValueError: if there are no questions, or one has no answers.
    """
    if not answers:
        raise ValueError("answers must be of at least one question, got none")
    there = [question for question in answers if question in predictions]

    def mean(score):
        each = (score(predictions[q], answers[q]) for q in there)
        return sum(each) / len(answers)

    return ReadingScores(mean(exact_match), mean(f1), len(answers) - len(there))
