"""Groups of nodes that are all linked with each other, and can be no larger."""

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence


def maximal_cliques(
    nodes: Iterable[Hashable],
    edges: Iterable[Sequence[Hashable]],
    *,
    most: int = 1000,
) -> list[list]:
    """Returns every set of nodes, all linked with each other, that can take no more.

    By the algorithm of Bron and Kerbosch: branches on the nodes that a pivot is not
    linked with, which never comes to one set twice, and needs no memory of those found.

    Args:
      nodes: any hashable values; one that comes twice is taken once.
      edges: pairs of nodes, in either order; one of a node with itself says nothing.
      most: how many sets to find before stopping, as there may be 3^(n / 3) of them.

    Returns:
      Lists of nodes, in the order of `nodes`; [] for no nodes.

    Raises:
      ValueError: if an edge has a node that is none of `nodes`, or `most` is below 1.

    Source: https://kexue.fm/archives/8926, whose recursion over pairs that are not
      linked finds the same sets.

    >>> maximal_cliques("abcd", ["ab", "bc", "ca", "cd"])
    [['a', 'b', 'c'], ['c', 'd']]
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    names = list(dict.fromkeys(nodes))
    number = {name: at for at, name in enumerate(names)}
    linked = [0] * len(names)  # of each node the set of its neighbours, as bits
    for edge in edges:
        first, second = edge
        if first not in number or second not in number:
            raise ValueError(f"edges must join nodes, got {(first, second)!r}")
        if first != second:
            linked[number[first]] |= 1 << number[second]
            linked[number[second]] |= 1 << number[first]
    every = (1 << len(names)) - 1
    found = itertools.islice(_grown(0, every, 0, linked), most)
    sets = sorted(list(_members(own)) for own in found if own)
    return [[names[at] for at in own] for own in sets]


def _members(bits: int) -> Iterator[int]:
    while bits:
        yield (bits & -bits).bit_length() - 1
        bits &= bits - 1


def _grown(own: int, open_: int, seen: int, linked: list[int]) -> Iterator[int]:
    """The maximal sets that hold `own` and some of `open_`, and none of `seen`."""
    if not open_ and not seen:
        yield own
        return

    def links(at):
        return (open_ & linked[at]).bit_count()

    pivot = max(_members(open_ | seen), key=links)
    for at in _members(open_ & ~linked[pivot]):
        yield from _grown(own | 1 << at, open_ & linked[at], seen & linked[at], linked)
        open_ &= ~(1 << at)
        seen |= 1 << at
