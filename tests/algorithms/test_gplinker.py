import numpy as np
import pytest

from kexue_jax.algorithms.gplinker import (
    Argument,
    Event,
    Triple,
    decode_events,
    decode_triples,
    event_positives,
    triple_positives,
)

ROLES = [("attack", "trigger"), ("attack", "who"), ("attack", "whom")] + [
    ("meet", "trigger"),
    ("meet", "who"),
]


def perfect(positives, length=12):
    """Scores of +1 at gold pairs and -1 elsewhere, of each head for the first text."""
    maps = []
    for pairs in positives:
        scores = np.full((pairs.shape[1], length, length), -1.0, np.float32)
        for at, row in enumerate(pairs[0]):
            for start, end in row[row[:, 0] >= 0]:
                scores[at, start, end] = 1.0
        maps.append(scores)
    return maps


def read_back(triples, predicates=3):
    return decode_triples(*perfect(triple_positives([triples], predicates=predicates)))


def random_spans(draws, count, distinct):
    """Spans that nest and overlap, with starts (0) or ends (1) that all differ."""
    edge = draws.permutation(12)[:count]
    other = [
        draws.integers(i, 12) if distinct == 0 else draws.integers(i + 1) for i in edge
    ]
    pairs = zip(edge, other, strict=True)
    return [tuple(map(int, p if distinct == 0 else p[::-1])) for p in pairs]


@pytest.mark.parametrize("distinct", [0, 1])
def test_triples_come_back_where_starts_or_ends_all_differ(distinct):
    draws = np.random.default_rng(distinct)
    for _ in range(100):
        spans = random_spans(draws, int(draws.integers(1, 7)), distinct)
        triples = {
            Triple(
                spans[draws.integers(len(spans))],
                int(draws.integers(3)),
                spans[draws.integers(len(spans))],
            )
            for _ in range(draws.integers(0, 9))
        }
        found = read_back(triples)
        assert len(found) == len(triples)
        assert set(found) == triples


def test_triples_that_nest_turn_round_and_share_all_come_back():
    inside, whole, before = (3, 4), (2, 6), (0, 0)
    gold = [
        Triple(inside, 0, whole),
        Triple(whole, 0, before),
        Triple(whole, 1, before),
        Triple(whole, 2, whole),
    ]
    assert read_back(gold) == sorted(gold, key=lambda t: (t.predicate, *t))
    assert read_back([]) == []


def test_a_triple_is_invented_where_one_shares_its_starts_and_another_its_ends():
    gold = [
        Triple((1, 4), 0, (7, 8)),
        Triple((2, 3), 0, (6, 9)),
        Triple((1, 3), 1, (5, 5)),
        Triple((0, 0), 2, (7, 9)),
    ]
    assert set(read_back(gold)) == {*gold, Triple((1, 3), 0, (7, 9))}
    assert set(read_back(gold[1:])) == set(gold[1:])


def test_of_many_spans_only_the_best_are_looked_at():
    draws = np.random.default_rng(2)
    entity = draws.random((2, 12, 12)).astype(np.float32)
    links = np.ones((1, 12, 12), np.float32)
    found = decode_triples(entity, links, links, most=4)
    assert len(found) == 16
    best = np.sort(entity[0].ravel())[-4:]
    assert {float(entity[0][t.subject]) for t in found} == set(best.tolist())


def test_of_many_triples_those_with_the_highest_least_score_are_returned():
    draws = np.random.default_rng(0)
    maps = [draws.normal(size=(count, 7, 7)) for count in (2, 3, 3)]
    whole = decode_triples(*maps)

    def least(triple):
        (a, b), link, (c, d) = triple
        entity, head, tail = maps
        parts = entity[0, a, b], entity[1, c, d], head[link, a, c], tail[link, b, d]
        return min(parts)

    assert len(whole) > 200
    for most in (1, 5, 60, len(whole), len(whole) + 1):
        want = {*sorted(whole, key=least, reverse=True)[:most]}
        found = decode_triples(*maps, most_triples=most)
        assert [*found] == [triple for triple in whole if triple in want]


def test_each_of_the_four_scores_has_to_pass_the_threshold():
    maps = perfect(triple_positives([[((1, 2), 0, (4, 5))]], predicates=1))
    assert len(decode_triples(*maps)) == 1
    assert decode_triples(*maps, threshold=1.0) == []
    places = [(0, 0, 1, 2), (0, 1, 4, 5), (1, 0, 1, 4), (2, 0, 2, 5)]
    for which, *place in places:
        others = [own.copy() for own in maps]
        others[which][tuple(place)] = -0.1
        assert decode_triples(*others) == []


def read_events(events, **options):
    arguments, head, tail = perfect(event_positives([events], roles=ROLES))
    return decode_events(arguments, head[0], tail[0], roles=ROLES, **options)


def test_events_come_back_with_shared_arguments_and_roles_of_one_span():
    first = Event(
        "attack",
        (Argument("trigger", 4, 5), Argument("who", 0, 2), Argument("whom", 7, 7)),
    )
    second = Event("attack", (Argument("trigger", 9, 9), Argument("who", 0, 2)))
    third = Event("meet", (Argument("trigger", 4, 5), Argument("who", 4, 5)))
    gold = [first, second, third]
    assert sorted(read_events(gold)) == sorted(gold)
    assert read_events([]) == []


def test_an_event_without_its_trigger_may_be_dropped():
    gold = [
        Event("meet", (Argument("who", 1, 2),)),
        Event("attack", (Argument("trigger", 5, 5),)),
    ]
    assert sorted(read_events(gold), key=str) == sorted(gold, key=str)
    assert read_events(gold, trigger="trigger") == gold[1:]


def test_links_are_read_above_the_diagonal_alone():
    gold = [Event("meet", (Argument("trigger", 7, 8), Argument("who", 1, 9)))]
    arguments, head, tail = perfect(event_positives([gold], roles=ROLES))
    hidden = np.tril(np.ones((12, 12), bool), -1)
    head, tail = (np.where(hidden, -np.inf, own[0]) for own in (head, tail))
    assert decode_events(arguments, head, tail, roles=ROLES) == gold
    head[8:, :7], tail[10:, :8] = 1.0, 1.0
    assert decode_events(arguments, head, tail, roles=ROLES) == gold


def test_positives_are_padded_to_one_size():
    found = triple_positives([[((0, 1), 1, (2, 2))], []], predicates=2, size=3)
    assert [own.shape for own in found] == [(2, 2, 3, 2), (2, 2, 3, 2), (2, 2, 3, 2)]
    assert found.head[0, 1].tolist() == [[0, 2], [-1, -1], [-1, -1]]
    assert (found.tail[1] == -1).all()


def test_what_does_not_fit_is_refused():
    entity, links = np.zeros((2, 3, 3)), np.zeros((1, 3, 3))
    with pytest.raises(ValueError, match=r"entity must be \[2, T, T\]"):
        decode_triples(entity[:1], links, links)
    with pytest.raises(ValueError, match=r"head and tail must be \[P, 3, 3\]"):
        decode_triples(entity, links, links[:, :2])
    with pytest.raises(ValueError, match=r"predicate must be in \[0, 1\), got 1"):
        triple_positives([[((0, 0), 1, (0, 0))]], predicates=1)
    with pytest.raises(ValueError, match="size must be at least 1"):
        triple_positives([[((0, 0), 0, (0, 0))]], predicates=1, size=0)
    with pytest.raises(ValueError, match="one map for each role"):
        decode_events(entity, links[0], links[0], roles=ROLES)
    with pytest.raises(ValueError, match=r"head and tail must be \(3, 3\)"):
        decode_events(entity, links, links, roles=ROLES[:2])
    with pytest.raises(ValueError, match="roles must name"):
        event_positives([[("meet", [("whom", 0, 0)])]], roles=ROLES)
