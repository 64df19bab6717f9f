"""GPLinker on the host: triples and events out of scores of pairs, and back.

A triple or an event is taken apart into pairs of places, each of which a GlobalPointer
scores alone; the functions here put them together again.
"""

import itertools
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from kexue_jax.algorithms.cliques import maximal_cliques
from kexue_jax.algorithms.spans import decode_spans, padded_pairs

Pair = tuple[int, int]


class Triple(NamedTuple):
    """Subject and object, from a start to an end, both included, and their link."""

    subject: Pair
    predicate: int
    object: Pair


class TriplePositives(NamedTuple):
    """Gold triples as three losses take them; -1 where there is no pair.

    Attributes:
      entity: ``[B, 2, K, 2]`` int32, spans of subjects and of objects.
      head: ``[B, P, L, 2]``, starts of subject and object.
      tail: ``[B, P, M, 2]``, ends of subject and object.
    """

    entity: np.ndarray
    head: np.ndarray
    tail: np.ndarray


class Argument(NamedTuple):
    """What plays a role in an event; both ends are included."""

    role: Hashable
    start: int
    end: int


class Event(NamedTuple):
    """An event's type and its arguments, of which the trigger is one."""

    type: Hashable
    arguments: tuple[Argument, ...]


class EventPositives(NamedTuple):
    """Gold events as three losses take them; -1 where there is no pair.

    Attributes:
      arguments: ``[B, R, K, 2]`` int32, spans of each role.
      head: ``[B, 1, L, 2]``, starts of two arguments of an event, the lower first.
      tail: ``[B, 1, M, 2]``, ends, likewise.
    """

    arguments: np.ndarray
    head: np.ndarray
    tail: np.ndarray


def _both(head, tail, first, second, threshold):
    """Whether starts and ends of spans are linked: ``[..., first, second]`` bool."""
    found = True
    for links, end in ((head, 0), (tail, 1)):
        rows, columns = (np.array([s[end] for s in x], int) for x in (first, second))
        found &= links[..., rows[:, None], columns[None, :]] > threshold
    return found


def _surest(found, maps, subjects, objects, most):
    """The places of those links whose least score is the highest, in their order."""
    (entity, head, tail), (links, first, second) = maps, found
    s, o = (np.array(spans, int) for spans in (subjects, objects))
    least = np.minimum(entity[0][tuple(s.T)][first], entity[1][tuple(o.T)][second])
    for links_of, end in ((head, 0), (tail, 1)):
        least = np.minimum(least, links_of[links, s[first, end], o[second, end]])
    chosen = np.sort(np.argpartition(-least, most - 1)[:most])
    return links[chosen], first[chosen], second[chosen]


def decode_triples(
    entity: np.ndarray,
    head: np.ndarray,
    tail: np.ndarray,
    *,
    threshold: float = 0.0,
    most: int = 256,
    most_triples: int | None = None,
) -> list[Triple]:
    """Returns the triples of one text, whose four pairs all score above a threshold.

    One thing the four pairs cannot tell. Where a predicate links (1, 4) with (7, 8) and
    (2, 3) with (6, 9), it links the starts 1 and 7 and the ends 3 and 9; if (1, 3) and
    (7, 9) are a subject and an object of other triples, of any predicate, they are
    taken for a triple too. It needs spans that share a start and others that share an
    end: where all subjects and all objects differ in their starts, or all in their
    ends, triples come back as they were.

    Args:
      entity: ``[2, T, T]``, scores of spans as subjects and as objects.
      head: ``[P, T, T]``, of each predicate, start of subject and start of object.
      tail: ``[P, T, T]``, likewise of ends.
      threshold: that of the loss.
      most: of subjects and of objects only so many are looked at, those that score
        best, as all T^2 pairs of a model that knows nothing would take T^4 places.
      most_triples: only so many are returned, those whose least score is the highest;
        None returns all.

    Returns:
      `Triple` tuples, by predicate, subject and object.

    Raises:
      ValueError: if the shapes disagree.

    Source: https://kexue.fm/archives/8888
    """
    entity, head, tail = map(np.asarray, (entity, head, tail))
    square = entity.shape[1:]
    if entity.ndim != 3 or len(entity) != 2 or len(set(square)) > 1:
        raise ValueError(f"entity must be [2, T, T], got {entity.shape}")
    if head.ndim != 3 or head.shape != tail.shape or head.shape[1:] != square:
        raise ValueError(
            f"head and tail must be [P, {square[0]}, {square[0]}], got {head.shape}, "
            f"{tail.shape}"
        )
    subjects, objects = (
        [s[1:3] for s in decode_spans(own[None], threshold=threshold, most=most)]
        for own in entity
    )
    linked = _both(head, tail, subjects, objects, threshold)
    found = np.nonzero(linked)
    if most_triples is not None and len(found[0]) > most_triples:
        found = _surest(found, (entity, head, tail), subjects, objects, most_triples)
    places = zip(*(own.tolist() for own in found), strict=True)
    return [Triple(subjects[s], p, objects[o]) for p, s, o in places]


def triple_positives(
    texts: Sequence[Iterable[Triple]], *, predicates: int, size: int | None = None
) -> TriplePositives:
    """Gold triples of each text as the losses of the three heads take them.

    Args:
      texts: for each of B texts, triples or ``(subject, predicate, object)``.
      predicates: P.
      size: K, L and M, into which the most pairs of a map have to fit; default, for
        each of the three, as many as there are.

    Returns:
      The `TriplePositives`.

    Raises:
      ValueError: if there is no such predicate, or more pairs than `size`.

    >>> triple_positives([[((1, 2), 0, (4, 4))]], predicates=1).entity.tolist()
    [[[[1, 2]], [[4, 4]]]]
    """
    parts: tuple[list, list, list] = ([], [], [])
    for triples in texts:
        entity: list[list[Pair]] = [[], []]
        head: list[list[Pair]] = [[] for _ in range(predicates)]
        tail: list[list[Pair]] = [[] for _ in range(predicates)]
        for subject, predicate, object_ in triples:
            if not 0 <= predicate < predicates:
                raise ValueError(
                    f"predicate must be in [0, {predicates}), got {predicate}"
                )
            entity[0].append(tuple(subject))
            entity[1].append(tuple(object_))
            head[predicate].append((subject[0], object_[0]))
            tail[predicate].append((subject[1], object_[1]))
        for part, own in zip(parts, (entity, head, tail), strict=True):
            part.append(own)
    return TriplePositives(*(padded_pairs(part, size=size) for part in parts))


def decode_events(
    arguments: np.ndarray,
    head: np.ndarray,
    tail: np.ndarray,
    *,
    roles: Sequence[tuple[Hashable, Hashable]],
    trigger: Hashable | None = None,
    threshold: float = 0.0,
    most: int = 64,
) -> list[Event]:
    """Returns the events of one text: arguments of one type that are all linked.

    Args:
      arguments: ``[R, T, T]``, scores of spans in each role.
      head: ``[T, T]``, of starts of two arguments of an event, the lower first.
      tail: ``[T, T]``, likewise of ends.
      roles: R pairs of an event's type and a role, which the maps of `arguments` are.
      trigger: a role without which there is no event; None asks for none.
      threshold: that of the loss.
      most: only so many arguments are looked at, those that score best.

    Returns:
      `Event` tuples, by type in the order of `roles`. One argument may be in several.

    Raises:
      ValueError: if the shapes disagree, or there is not one map for each role.

    Source: https://kexue.fm/archives/8926
    """
    arguments, head, tail = map(np.asarray, (arguments, head, tail))
    square = arguments.shape[1:]
    if arguments.ndim != 3 or len(arguments) != len(roles) or len(set(square)) > 1:
        raise ValueError(
            f"arguments must be [{len(roles)}, T, T], one map for each role, got "
            f"{arguments.shape}"
        )
    if head.shape != square or tail.shape != square:
        raise ValueError(
            f"head and tail must be {square}, got {head.shape} and {tail.shape}"
        )
    head, tail = (np.triu(own) + np.triu(own, 1).T for own in (head, tail))
    spans = decode_spans(arguments, threshold=threshold, most=most)
    events = []
    for kind in dict.fromkeys(kind for kind, _ in roles):
        own = [
            Argument(roles[s[0]][1], *s[1:3]) for s in spans if roles[s[0]][0] == kind
        ]
        places = [argument[1:] for argument in own]
        linked = np.argwhere(_both(head, tail, places, places, threshold)).tolist()
        for clique in maximal_cliques(range(len(own)), linked):
            event = Event(kind, tuple(own[at] for at in clique))
            if trigger is None or any(a.role == trigger for a in event.arguments):
                events.append(event)
    return events


def event_positives(
    texts: Sequence[Iterable[Event]],
    *,
    roles: Sequence[tuple[Hashable, Hashable]],
    size: int | None = None,
) -> EventPositives:
    """Gold events of each text as the losses of the three heads take them.

    Args:
      texts: for each of B texts, events or ``(type, arguments)``, where arguments are
        ``(role, start, end)``.
      roles: R pairs of an event's type and a role.
      size: K, L and M; see `triple_positives`.

    Returns:
      The `EventPositives`.

    Raises:
      ValueError: if a role is none of `roles`, or there are more pairs than `size`.
    """
    number = {tuple(role): at for at, role in enumerate(roles)}
    parts: tuple[list, list, list] = ([], [], [])
    for events in texts:
        spans: list[list[Pair]] = [[] for _ in roles]
        head: list[Pair] = []
        tail: list[Pair] = []
        for kind, arguments in events:
            for role, start, end in arguments:
                if (kind, role) not in number:
                    raise ValueError(f"roles must name {(kind, role)!r}")
                spans[number[kind, role]].append((start, end))
            for one, other in itertools.combinations(arguments, 2):
                head.append((min(one[1], other[1]), max(one[1], other[1])))
                tail.append((min(one[2], other[2]), max(one[2], other[2])))
        for part, own in zip(parts, (spans, [head], [tail]), strict=True):
            part.append(own)
    return EventPositives(*(padded_pairs(part, size=size) for part in parts))
