"""Distances side by side: time, memory and error of each way, against its peers.

    python -m benchmarks.distances [--write] [--only=REGEX] [--quick] [--cores=1]

Every cell runs in a process of its own, compiled before it is timed. With ``--write``
the cells are written to ``docs/benchmarks/distances.json`` and the tables and bars, all
computed from them, to the page of it. ``--only`` takes the cells whose name
(``pair/ours/64``) has a match and leaves the others as they were written; ``--quick``
takes sizes up to 64; ``--cores=1`` pins each process.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.distances_ways import (
    FOUND,
    KEPT,
    POT,
    QUERIES,
    REPEATS,
    ROWS,
    TWEETS,
    VOTERS,
    WIDE,
)
from benchmarks.pages import Bar, Found, row, text

PACKAGES = (
    "jax",
    "jaxlib",
    "numba",
    "numpy",
    "scipy",
    "torch",
    "pot",
    "ott-jax",
    "lap",
    "faiss-cpu",
    "gensim",
    "scikit-learn",
)
QUICK = 64
INTRODUCTION = """
Written by `python -m benchmarks.distances --write`; no cell is typed. On {cores}
core(s) ({processor}, {days}; {versions}). Every cell in a process of its own, compiled
before it is timed. A cell holds the median time, the highest memory of a call beyond
its inputs (results included), and the largest error beside the same in float64, in
units of the largest. Ratios compare the fastest run of each; a peer that had not ended
after 180 s counts as if it had then, which is the least that can be said. {clock}
"""
WHITENERS = ("ours", "scikit-learn", "faiss", "NumPy recipe")
TEXTS = ("ours", "ours, gradient", "POT emd2", "POT's entry to C")


class Table(NamedTuple):
    """Cells that stand beside each other: ways in columns, sizes in rows."""

    title: str
    kind: str
    size: str  # what a row is
    ways: dict[str, Sequence[int]]


TABLES = (
    Table(
        "WMD of 1,000 pairs of sentences of 10 to 40 words in 300 dimensions",
        "movers",
        "dimensions",
        dict.fromkeys((*TEXTS, "gensim"), (300,)),
    ),
    Table(
        "WRD of the same",
        "rotators",
        "dimensions",
        dict.fromkeys(TEXTS, (300,)),
    ),
    Table(
        f"{REPEATS} problems of transport, one by one",
        "pair",
        "rows",
        dict.fromkeys(("ours", "POT's entry to C", "POT emd2"), (8, 16, 32, 64, 128)),
    ),
    Table(
        f"{REPEATS} problems of equal masses, one by one",
        "square",
        "rows",
        dict.fromkeys(
            ("ours", "lap.lapjv", "SciPy", "POT's entry to C"), (32, 64, 256)
        ),
    ),
    Table(
        "Sinkhorn of the 1,000 pairs; the error is beside exact transport",
        "sinkhorn",
        "mean cost in epsilons",
        dict.fromkeys(("ours", "ott-jax"), (20, 100)),
    ),
    Table(
        "Squared W2 of 1,000 pairs of normal distributions (100 in 256 dimensions)",
        "bures",
        "dimensions",
        dict.fromkeys(("ours", "NumPy", "torch", "ott-jax"), (8, 64, 256)),
    ),
    Table(
        "The same with its gradient",
        "bures gradient",
        "dimensions",
        {"ours": (8, 64, 256), "torch": (8, 64, 256), "ott-jax": (8, 64)},
    ),
    Table(
        "KL of the same with its gradient",
        "kl gradient",
        "dimensions",
        dict.fromkeys(("ours", "plain JAX", "torch"), (8, 64, 256)),
    ),
    Table(
        "Entropy of 20,000 samples from their neighbours",
        "entropy",
        "dimensions",
        {
            "ours": (2, 16, 64),
            "SciPy KDTree": (2, 16),
            "scikit-learn": (2, 16, 64),
            "plain lax.top_k": (2, 16, 64),
        },
    ),
    Table(
        f"The {VOTERS} nearest of 2,802 tweets to each of {TWEETS}, by WMD",
        "tweets",
        "dimensions",
        dict.fromkeys(("ours", *POT), (25,)),
    ),
    Table(
        f"Whitening {ROWS:,} vectors to {KEPT} components: fit; the error is that of "
        "the covariance",
        "fit",
        "dimensions",
        dict.fromkeys(WHITENERS, (WIDE,)),
    ),
    Table(
        "The same: transform",
        "transform",
        "dimensions",
        dict.fromkeys(WHITENERS, (WIDE,)),
    ),
    Table(
        f"The {FOUND} nearest of {ROWS:,} vectors to each of {QUERIES:,}, by cosines",
        "search",
        "dimensions",
        dict.fromkeys(("ours", "faiss", "plain lax.top_k"), (WIDE,)),
    ),
)


def name(kind: str, way: str, size: int) -> str:
    """The name of a cell, for ``--only`` and in the file of results."""
    return f"{kind}/{way}/{size}"


def tasks() -> Iterator[pages.Task]:
    """Every cell."""
    for table in TABLES:
        for way, sizes in table.ways.items():
            for size in sizes:
                arguments = dict(kind=table.kind, way=way, size=size)
                make = "benchmarks.distances_ways:make"
                yield pages.Task(name(table.kind, way, size), make, arguments, size)


def seconds(found: Found, kind: str, way: str, size: int) -> float:
    """The fastest run of a cell; of one that did not end, when it was given up."""
    entry = found.get(name(kind, way, size), {})
    return entry.get("least", entry.get("longer", math.nan))


def ratio(found: Found, kind: str, above: str, sizes: Sequence[int]) -> float:
    """How often ours fits into the time of a peer, the least over sizes."""
    got = [
        seconds(found, kind, above, size) / seconds(found, kind, "ours", size)
        for size in sizes
    ]
    return math.nan if any(map(math.isnan, got)) else min(got)


def bars(found: Found) -> list[Bar]:
    """The goals, and the least favourable of what was found for each."""

    def error(kind, size):
        return found.get(name(kind, "ours", size), {}).get("error", math.nan)

    def least(*numbers):
        return math.nan if any(map(math.isnan, numbers)) else min(numbers)

    both = ("movers", "rotators")

    sizes = (8, 64, 256)
    slower = [
        seconds(found, "bures gradient", "ours", size)
        / seconds(found, "bures", "ours", size)
        for size in sizes
    ]
    goals = [
        (
            "WMD and WRD of sentences over POT's emd2",
            least(*(ratio(found, kind, "POT emd2", [300]) for kind in both)),
            5.0,
        ),
        (
            "the same over POT's entry to C in a loop",
            least(*(ratio(found, kind, "POT's entry to C", [300]) for kind in both)),
            2.3,
        ),
        (
            "one problem of at most 64 rows over POT's entry to C",
            ratio(found, "pair", "POT's entry to C", (8, 16, 32, 64)),
            2.0,
        ),
        (
            "equal masses over lap.lapjv",
            ratio(found, "square", "lap.lapjv", (32, 64, 256)),
            1.0,
        ),
        (
            "Sinkhorn over ott-jax",
            ratio(found, "sinkhorn", "ott-jax", (20, 100)),
            10.0,
        ),
        (
            "W2 over ott-jax in 64 dimensions",
            ratio(found, "bures", "ott-jax", [64]),
            3.0,
        ),
        (
            "W2 over ott-jax in 256 dimensions",
            ratio(found, "bures", "ott-jax", [256]),
            10.0,
        ),
        ("W2 over NumPy", ratio(found, "bures", "NumPy", (8, 64, 256)), 1.0),
        (
            "W2 and gradient over ott-jax",
            ratio(found, "bures gradient", "ott-jax", (8, 64)),
            25.0,
        ),
        (
            "W2 and gradient over torch",
            ratio(found, "bures gradient", "torch", (8, 64, 256)),
            1.7,
        ),
        (
            "KL and gradient over plain automatic differentiation",
            ratio(found, "kl gradient", "plain JAX", (8, 64, 256)),
            2.0,
        ),
        (
            "entropy in 2 dimensions over SciPy's tree",
            ratio(found, "entropy", "SciPy KDTree", [2]),
            1.0 / 1.2,
        ),
        (
            "entropy in 16 and 64 dimensions over scikit-learn",
            ratio(found, "entropy", "scikit-learn", (16, 64)),
            1.0 / 1.2,
        ),
        (
            "entropy over plain lax.top_k",
            ratio(found, "entropy", "plain lax.top_k", (2, 16, 64)),
            8.0,
        ),
        ("WMD over gensim", ratio(found, "movers", "gensim", [300]), 10.0),
        (
            "nearest tweets over all distances by POT's emd2",
            ratio(found, "tweets", "POT emd2", [25]),
            10.0,
        ),
        *(
            (
                f"whitening, {kind}, over the best of scikit-learn and faiss",
                least(
                    ratio(found, kind, "scikit-learn", [WIDE]),
                    ratio(found, kind, "faiss", [WIDE]),
                ),
                1.0 / 1.1,
            )
            for kind in ("fit", "transform")
        ),
        (
            "search by cosines over faiss",
            ratio(found, "search", "faiss", [WIDE]),
            1.0 / 1.2,
        ),
    ]
    made = [Bar(label, value, True, goal) for label, value, goal in goals]
    most = math.nan if any(map(math.isnan, slower)) else max(slower)
    made.append(Bar("W2 and gradient, in units of W2", most, False, 1.3))
    errors = [error("bures", size) for size in sizes]
    largest = math.nan if any(map(math.isnan, errors)) else max(errors)
    made.append(Bar("error of W2", largest, False, 1e-6))
    return made


def page(found: Found, about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    run = pages.about_the_run(found, about, PACKAGES)
    lines = [
        "# Distances side by side",
        "",
        text(INTRODUCTION.format(**about | run)),
        "",
        "## Bars",
        "",
        *pages.bar_rows(bars(found)),
    ]
    for table in TABLES:
        lines += ["", f"## {table.title}", "", row(table.size, *table.ways)]
        lines += [row(*(len(table.ways) + 1) * ["---"])]
        for size in sorted({n for each in table.ways.values() for n in each}):
            entries = (found.get(name(table.kind, way, size)) for way in table.ways)
            lines.append(row(str(size), *map(pages.shown, entries)))
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints every cell and, if asked, writes the page."""
    pages.main(
        "distances", argv, tasks=tasks, page=page, packages=PACKAGES, quick=QUICK
    )


if __name__ == "__main__":
    main(sys.argv[1:])
