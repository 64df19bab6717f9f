"""Spans of a sequence as tags of its places, and tags as spans.

A tag is ``O``, outside, or a letter, a hyphen and the type of a span: ``B-PER``. A span
is ``(start, stop, type)``, half-open. The schemes:

- ``BIO`` (IOB2): B begins every span, I goes on;
- ``BIOES`` (IOBES): E ends a span of two places or more, S is a span of one;
- ``BMES``: as BIOES, with M for I.

Everything here is of the host: words, numbers and NumPy arrays.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

Scheme = Literal["BIO", "BIOES", "BMES"]
TypedSpan = tuple[int, int, str]

# What stands for B, I, E and S.
_LETTERS = {"BIO": "BIIB", "BIOES": "BIES", "BMES": "BMES"}


class AllowedTransitions(NamedTuple):
    """Which tags may follow, begin and end: bool ``[C, C]``, ``[C]`` and ``[C]``."""

    moves: np.ndarray
    first: np.ndarray
    last: np.ndarray


def _letters(scheme):
    if scheme not in _LETTERS:
        raise ValueError(f"scheme must be one of {[*_LETTERS]}, got {scheme!r}")
    return _LETTERS[scheme]


def _parted(tag, scheme):
    """The letter and the type of a tag; of ``O`` itself and nothing."""
    letter, hyphen, kind = tag.partition("-")
    known = _letters(scheme)
    if tag != "O" and not (hyphen and kind and letter in set(known)):
        raise ValueError(
            f"a tag of {scheme} must be O, or one of {sorted(set(known))}, a hyphen "
            f"and a type, got {tag!r}"
        )
    return letter, kind


def tag_names(types: Iterable[str], scheme: Scheme = "BIO") -> list[str]:
    """Returns all tags of a scheme: ``O`` is the first, then those of each type.

    >>> tag_names(["LOC"], "BIOES")
    ['O', 'B-LOC', 'I-LOC', 'E-LOC', 'S-LOC']
    """
    letters = dict.fromkeys(_letters(scheme))
    return ["O", *(f"{letter}-{kind}" for kind in types for letter in letters)]


def tags_of_spans(
    spans: Iterable[TypedSpan], length: int, scheme: Scheme = "BIO"
) -> list[str]:
    """Returns the tags of spans that do not overlap.

    Args:
      spans: ``(start, stop, type)``, in any order.
      length: of the sequence.
      scheme: as said above.

    Returns:
      `length` tags.

    Raises:
      ValueError: if a span is empty or leaves the sequence, or two overlap.

    >>> tags_of_spans([(1, 3, "LOC")], 4, "BMES")
    ['O', 'B-LOC', 'E-LOC', 'O']
    """
    begin, inside, end, single = _letters(scheme)
    tags = ["O"] * length
    for start, stop, kind in spans:
        if not 0 <= start < stop <= length:
            raise ValueError(
                f"a span must be within {length} places and not empty, got "
                f"{(start, stop, kind)}"
            )
        if any(tag != "O" for tag in tags[start:stop]):
            raise ValueError(f"spans must not overlap, got {(start, stop, kind)}")
        more = stop - start - 2
        letters = single if more < 0 else begin + inside * more + end
        tags[start:stop] = [f"{letter}-{kind}" for letter in letters]
    return tags


def strict_spans(tags: Sequence[str], scheme: Scheme = "BIO") -> list[TypedSpan]:
    """Returns the spans that are whole by the rules of the scheme, and no others.

    What is malformed is passed over: an I without a B, a B without an E where one is
    asked for. So do strict modes of scorers; tags are free of faults exactly if
    `tags_of_spans` gives them back.

    Args:
      tags: of one sequence.
      scheme: as said above.

    Returns:
      Spans in order.

    Raises:
      ValueError: if a tag is not of the scheme.

    >>> strict_spans(["B-LOC", "I-LOC", "O", "I-PER"])
    [(0, 2, 'LOC')]
    """
    begin, inside, end, single = _letters(scheme)
    parted = [_parted(tag, scheme) for tag in tags]
    found: list[TypedSpan] = []
    at = 0
    while at < len(parted):
        letter, kind = parted[at]
        stop, whole = at + 1, letter == single
        if letter == begin:
            while parted[stop : stop + 1] == [(inside, kind)]:
                stop += 1
            whole = inside == end
            if not whole and parted[stop : stop + 1] == [(end, kind)]:
                stop, whole = stop + 1, True
        if whole:
            found.append((at, stop, kind))
        at = stop
    return found


def repaired_spans(tags: Sequence[str], scheme: Scheme = "BIO") -> list[TypedSpan]:
    """Returns spans, also malformed ones: what goes on with nothing begins a span.

    A span goes on while its type does, until an end, and a begin breaks it. This is how
    conlleval and the default mode of seqeval read.

    Args:
      tags, scheme: as in `strict_spans`.

    Returns:
      Spans in order; every place that is not ``O`` is in one of them.

    Raises:
      ValueError: if a tag is not of the scheme.

    >>> repaired_spans(["I-LOC", "I-LOC", "I-PER", "O", "B-PER"])
    [(0, 2, 'LOC'), (2, 3, 'PER'), (4, 5, 'PER')]
    """
    begin, inside, end, single = _letters(scheme)
    opening, closing = {begin, single}, {end, single} - {begin, inside}
    found: list[TypedSpan] = []
    open_type = None
    for at, tag in enumerate(tags):
        letter, kind = _parted(tag, scheme)
        if letter == "O":
            open_type = None
            continue
        if letter not in opening and kind == open_type:
            found[-1] = (found[-1][0], at + 1, kind)
        else:
            found.append((at, at + 1, kind))
        open_type = None if letter in closing else kind
    return found


def allowed_transitions(
    tags: Sequence[str], scheme: Scheme = "BIO"
) -> AllowedTransitions:
    """Returns which tags may follow which, begin a sequence and end it.

    A sequence of tags keeps to this exactly if it is free of faults, as said at
    `strict_spans`.

    Args:
      tags: the names of the C tags, in the order of their numbers.
      scheme: as said above.

    Returns:
      `AllowedTransitions`; a row of `moves` is the tag before.

    Raises:
      ValueError: if a tag is not of the scheme.

    >>> allowed_transitions(["O", "B-LOC", "I-LOC"]).moves.tolist()
    [[True, True, False], [True, True, True], [True, True, True]]
    """
    begin, inside, end, _ = _letters(scheme)
    parted = [_parted(tag, scheme) for tag in tags]
    goes_on = [letter in (inside, end) for letter, _ in parted]
    # In BIO a span may end at any of its places.
    unfinished = [inside != end and letter in (begin, inside) for letter, _ in parted]
    opens = [letter in (begin, inside) for letter, _ in parted]
    same = [[a[1] == b[1] for b in parted] for a in parted]
    within = np.array(same) & np.array(opens)[:, None]
    across = ~np.array(unfinished)[:, None]
    moves = np.where(np.array(goes_on)[None, :], within, across)
    return AllowedTransitions(moves, ~np.array(goes_on), ~np.array(unfinished))
