"""Precision, recall and F1 of what was taken out of texts: entities, triples, events.

Everything is counted over all examples before it is divided (micro); a mean of F1 over
examples is another number. 0/0 is 0, unless `empty` says otherwise.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from kexue_jax.scores.overlaps import common_subsequence_length, shares

Argument = tuple[str, str, str]


class ExtractionScores(NamedTuple):
    """Shares from 0 to 1, and the counts that they are of.

    `right` is the size of what `predicted` and `gold` have in common; it is no whole
    number where likeness counts.
    """

    precision: float
    recall: float
    f1: float
    right: float
    predicted: int
    gold: int


def _of_counts(right, predicted, gold, empty=0.0) -> ExtractionScores:
    found = shares(right, predicted, gold)
    if not predicted and not gold:
        found = (empty,) * 3
    return ExtractionScores(*found, right, predicted, gold)


def _pairs(gold, predicted):
    gold, predicted = [*gold], [*predicted]
    if len(gold) != len(predicted):
        raise ValueError(
            "gold and predicted must be of as many examples, got "
            f"{len(gold)} and {len(predicted)}"
        )
    return zip(gold, predicted, strict=True)


def set_scores(
    gold: Iterable[Iterable[Hashable]],
    predicted: Iterable[Iterable[Hashable]],
    *,
    empty: float = 0.0,
) -> ExtractionScores:
    r"""Returns the scores of sets, one pair of them for each example.

    .. math:: F_1 = \frac{2 |P \cap G|}{|P| + |G|}

    Args:
      gold, predicted: for each example anything that can be in a set, such as the spans
        ``(start, stop, type)``; what comes twice counts once.
      empty: what all three are where there is nothing in `gold` and in `predicted`.

    Raises:
      ValueError: if the examples are not as many.

    >>> set_scores([{1, 2}, {3}], [{2}, {4, 5}]).f1
    0.3333333333333333
    """
    right = taken = there = 0
    for own, other in _pairs(gold, predicted):
        own, other = {*own}, {*other}
        right, taken = right + len(own & other), taken + len(other)
        there += len(own)
    return _of_counts(right, taken, there, empty)


def scores_by_type(
    gold: Iterable[Iterable[Hashable]],
    predicted: Iterable[Iterable[Hashable]],
    *,
    key: Callable[[Any], Hashable] = lambda span: span[2],
) -> dict[Hashable, ExtractionScores]:
    """Returns the `set_scores` of each type, of those that occur or were predicted.

    Args:
      gold, predicted: as in `set_scores`.
      key: from an item to its type; that of a span by default.

    Raises:
      ValueError: if the examples are not as many.
    """
    counts: defaultdict[Hashable, Counter[str]] = defaultdict(Counter)
    for own, other in _pairs(gold, predicted):
        own, other = {*own}, {*other}
        for name, items in (
            ("gold", own),
            ("predicted", other),
            ("right", own & other),
        ):
            for item in items:
                counts[key(item)][name] += 1
    return {
        kind: _of_counts(found["right"], found["predicted"], found["gold"])
        for kind, found in counts.items()
    }


def _normalised(value, normalise):
    """A mention, or the whole of an object with keys, in a form to compare."""
    if isinstance(value, Mapping):
        return frozenset((key, normalise(words)) for key, words in value.items())
    return normalise(value)


def triple_scores(
    gold: Iterable[Iterable[Sequence]],
    predicted: Iterable[Iterable[Sequence]],
    *,
    normalise: Callable[[str], Hashable] = str,
    empty: float = 0.0,
) -> ExtractionScores:
    """Returns the scores of triples of words.

    Args:
      gold, predicted: for each example ``(subject, predicate, object)``. An object may
        be a mapping from keys to words, as in DuIE, and is compared as a whole.
      normalise: what subjects and objects are compared by; the posts take their tokens,
        so that case and spaces do not matter: ``tokenizer.tokenize``, made a tuple.
      empty: as in `set_scores`.

    Raises:
      ValueError: if the examples are not as many.

    >>> triple_scores([[("A b", "is", "C")]], [[("a B", "is", "c")]],
    ...               normalise=str.lower).f1
    1.0
    """

    def plain(examples):
        return [
            {
                (_normalised(s, normalise), predicate, _normalised(o, normalise))
                for s, predicate, o in triples
            }
            for triples in examples
        ]

    return set_scores(plain(gold), plain(predicted), empty=empty)


def event_scores(
    gold: Iterable[Iterable[tuple[str, Iterable[Hashable]]]],
    predicted: Iterable[Iterable[tuple[str, Iterable[Hashable]]]],
    *,
    empty: float = 0.0,
) -> ExtractionScores:
    """Returns the scores of whole events: right with its type and all its arguments.

    Args:
      gold, predicted: for each example ``(type, arguments)``; arguments, and a trigger
        if it counts, are anything that can be in a set, such as ``(role, words)``.
      empty: as in `set_scores`.

    Raises:
      ValueError: if the examples are not as many.
    """

    def plain(examples):
        return [
            {(kind, frozenset(arguments)) for kind, arguments in events}
            for events in examples
        ]

    return set_scores(plain(gold), plain(predicted), empty=empty)


def likeness(first: str, second: str) -> float:
    r"""Returns how alike two strings are, from 0 to 1.

    .. math:: \frac{2\,\mathrm{LCS}(a, b)}{|a| + |b|}

    LCS is the length of the longest common subsequence of characters.

    >>> likeness("abcd", "ad")
    0.6666666666666666
    """
    common = common_subsequence_length(first, second)
    return shares(common, len(first), len(second)).f1


def _matched(own: Sequence[str], other: Sequence[str]) -> float:
    """Likeness of pairs, from the most alike pair down, each string in one."""
    alike = [
        (likeness(a, b), i, j) for i, a in enumerate(own) for j, b in enumerate(other)
    ]
    total, taken, used = 0.0, set(), set()
    for how, i, j in sorted(alike, key=lambda pair: (-pair[0], *pair[1:])):
        if i not in taken and j not in used:
            total += how
            taken.add(i)
            used.add(j)
    return total


def fuzzy_argument_scores(
    gold: Iterable[Iterable[Argument]],
    predicted: Iterable[Iterable[Argument]],
    *,
    empty: float = 0.0,
) -> ExtractionScores:
    """Returns the scores of arguments of events by their likeness, as in DuEE.

    An argument is ``(type of event, role, words)``. A predicted one counts as much as
    its words are alike those of one of the same type and role. Strict scores are the
    `set_scores` of the same triples, and never higher.

    Args:
      gold, predicted: for each example the arguments of all its events.
      empty: as in `set_scores`.

    Raises:
      ValueError: if the examples are not as many.

    Source: https://kexue.fm/archives/7321; the released script keeps one argument of
      each role, here all are paired, the most alike first.
    """
    right, taken, there = 0.0, 0, 0
    for own, other in _pairs(gold, predicted):
        sides = []
        for arguments in (own, other):
            roles: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
            for kind, role, words in dict.fromkeys(arguments):
                roles[kind, role].append(words)
            sides.append(roles)
        own, other = sides
        right += sum(_matched(own[role], other[role]) for role in own if role in other)
        there += sum(map(len, own.values()))
        taken += sum(map(len, other.values()))
    return _of_counts(right, taken, there, empty)
