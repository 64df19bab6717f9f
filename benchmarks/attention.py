"""Attention side by side: time, memory and error of each way, against its peers.

    python -m benchmarks.attention [--write] [--only=REGEX] [--quick] [--cores=1]

Every cell runs in a process of its own, compiled before it is timed. With ``--write``
the cells are written to ``docs/benchmarks/attention.json`` and the tables, ratios and
bars, all computed from them, to the page of it. ``--only`` takes the cells whose name
(``favor/ours/4096/causal/backward``) has a match and leaves the others as they were
written; ``--quick`` takes lengths up to 2048; ``--cores=1`` pins each process.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.pages import GIB, Bar, Found, row, text

PACKAGES = (
    "jax",
    "jaxlib",
    "numpy",
    "torch",
    "performer-pytorch",
    "nystrom-attention",
    "transformers",
)
QUICK = 2048
INTRODUCTION = """
Written by `python -m benchmarks.attention --write`; no cell is typed. On {cores}
core(s) ({processor}, {days}; {versions}). One example, 8 heads of 64, float32; every
cell in a process of its own, compiled before it is timed. A cell holds the median time,
the highest memory of a call beyond its inputs (results included), and the largest error
of output and gradients beside the same function in float64, in units of the largest
entry. What a way adds for stability, such as a constant to features, counts as error.
Ratios, exponents and crossings compare the fastest run of each; the file beside this
page has medians, extremes and counts. {clock}
"""
PEERS = """
*Assembled* is the best that can be put together in torch: the features of
performer-pytorch and the chunk form of linear attention, written for this page as its
packages need a GPU. *As in the paper* is FAVOR+ in JAX with a maximum over all keys and
causal sums token by token, also written for this page. The other peers are the
packages, called as they are. *Projections alone* is the module without its attention,
below which none can come.
"""


class Table(NamedTuple):
    """Cells that stand beside each other: ways in columns, lengths in rows."""

    title: str
    kind: str
    causal: bool
    gradient: bool
    ways: dict[str, Sequence[int]]  # the lengths at which each is measured


ALL = (512, 1024, 2048, 4096, 16384)
SOME = (1024, 4096, 16384)
LONG = SOME[1:]
LINEAR = (512, 1024, 2048, 4096, 16384, 65536)
TABLES = (
    Table(
        "Exact softmax, forward and backward",
        "softmax",
        False,
        True,
        {
            "blocked": ALL,
            "dense": ALL[:-1],
            "jax.nn": ALL,
            "torch SDPA": ALL,
        },
    ),
    Table(
        "Exact softmax, forward",
        "softmax",
        False,
        False,
        {
            "blocked": LONG,
            "jax.nn": LONG[:1],
            "torch SDPA": LONG,
        },
    ),
    Table(
        "Causal exact softmax, forward and backward",
        "softmax",
        True,
        True,
        {
            "blocked": (512, *SOME),
            "jax.nn": (512, *SOME[:2]),
            "torch SDPA": (512, *SOME),
        },
    ),
    Table(
        "Causal exact softmax, forward",
        "softmax",
        True,
        False,
        {
            "blocked": LONG,
            "jax.nn": LONG[:1],
            "torch SDPA": LONG,
        },
    ),
    Table(
        "Causal FAVOR+ with 256 features, forward and backward",
        "favor",
        True,
        True,
        {
            "ours": LINEAR,
            "assembled": SOME,
            "as in the paper": SOME,
            "performer-pytorch": SOME[:2],
        },
    ),
    Table(
        "Causal linear attention (elu + 1), forward and backward",
        "linear",
        True,
        True,
        {
            "ours": LINEAR,
            "chunk form": SOME,
            "performer-pytorch": SOME[:2],
        },
    ),
    Table(
        "FAVOR+ with 256 features in both directions, forward and backward",
        "favor",
        False,
        True,
        {
            "ours": LINEAR,
            "as in the paper": SOME,
            "performer-pytorch": SOME,
        },
    ),
    Table(
        "Module with Nystrom attention, 64 landmarks, forward and backward",
        "nystrom",
        False,
        True,
        {
            "ours": SOME,
            "nystrom-attention": SOME,
            "transformers": SOME,
            "projections alone": SOME,
        },
    ),
)
SOFTMAX, FORWARD, CAUSAL_SOFTMAX, CAUSAL_FORWARD, FAVOR, ELU, BOTH_WAYS, NYSTROM = (
    TABLES
)


def name(table: Table, way: str, length: int) -> str:
    """The name of a cell, for ``--only`` and in the file of results."""
    direction = "causal" if table.causal else "both"
    pulled = "backward" if table.gradient else "forward"
    return f"{table.kind}/{way}/{length}/{direction}/{pulled}"


def tasks() -> Iterator[pages.Task]:
    """Every cell."""
    for table in TABLES:
        for way, lengths in table.ways.items():
            for length in lengths:
                arguments = dict(kind=table.kind, way=way, length=length)
                arguments |= dict(causal=table.causal, gradient=table.gradient)
                make = "benchmarks.attention_ways:make"
                yield pages.Task(name(table, way, length), make, arguments, length)


def value(
    found: Found, table: Table, way: str, length: int, field: str = "least"
) -> float:
    """A figure of a cell; nan where it was not measured."""
    return found.get(name(table, way, length), {}).get(field, math.nan)


def ratios(
    found: Found,
    tables: Sequence[Table],
    above: Sequence[str],
    below: str,
    lengths: tuple[int, int],
    field: str = "least",
) -> list[float]:
    """How much the best of `above` is of `below`, in every row within `lengths`."""
    got = []
    for table in tables:
        for length in table.ways[below]:
            if not lengths[0] <= length <= lengths[1]:
                continue
            best = [value(found, table, way, length, field) for way in above]
            best = [x for x in best if not math.isnan(x)]
            here = value(found, table, below, length, field)
            if best and not math.isnan(here):
                got.append(min(best) / here)
    return got


def exponent(found: Found, table: Table, way: str) -> float:
    """Slope of log time over log length, by least squares, from 2048 to 65536."""
    lengths = [n for n in table.ways[way] if 2048 <= n <= 65536]
    points = [(math.log(n), math.log(value(found, table, way, n))) for n in lengths]
    if len(points) < 2 or any(math.isnan(y) for _, y in points):
        return math.nan
    x, y = (sum(column) / len(points) for column in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum(
        (a - x) ** 2 for a, _ in points
    )


def crossing(found: Found, table: Table, way: str, exact: Table) -> float:
    """From which length on a way is faster than the fastest exact softmax of `exact`.

    Between two lengths times are taken as powers of the length; nan if it is slower
    throughout.
    """
    points = []
    for length in table.ways[way]:
        others = [value(found, exact, peer, length) for peer in exact.ways]
        others = [x for x in others if not math.isnan(x)]
        mine = value(found, table, way, length)
        if others and not math.isnan(mine):
            points.append((math.log(length), math.log(mine / min(others))))
    if not points or points[-1][1] > 0.0:
        return math.nan
    last = points[-1]
    for before in reversed(points[:-1]):
        if before[1] > 0.0:
            share = before[1] / (before[1] - last[1])
            return math.exp(before[0] + share * (last[0] - before[0]))
        last = before
    return 0.0  # faster from the first length on


def bars(found: Found) -> list[Bar]:
    """The goals, and the least favourable of what was found for each."""
    softmax = [SOFTMAX, CAUSAL_SOFTMAX]
    forward = [FORWARD, CAUSAL_FORWARD]
    long, medium = (4096, 65536), (4096, 16384)
    worst, most = _least, _most
    extra = [value(found, table, "blocked", 16384, "bytes") / GIB for table in softmax]
    against_torch = [
        1.0 / ratio
        for ratio in ratios(
            found, [*softmax, *forward], ["torch SDPA"], "blocked", long
        )
    ]
    packages = ["nystrom-attention", "transformers"]

    def times(tables, above, below="ours", lengths=long, field="least"):
        return worst(ratios(found, tables, above, below, lengths, field))

    at_16k = (16384, 16384)
    smaller = times([BOTH_WAYS], ["as in the paper"], lengths=medium, field="bytes")
    return [
        Bar("blocked softmax at 16384, GiB beside its inputs", most(extra), False, 0.3),
        Bar(
            "blocked softmax over jax.nn, forward and backward, from 4096",
            times(softmax, ["jax.nn"], "blocked"),
            True,
            1.5,
        ),
        Bar(
            "blocked softmax over jax.nn, forward, from 4096",
            times(forward, ["jax.nn"], "blocked"),
            True,
            2.5,
        ),
        Bar(
            "time of blocked softmax in units of torch SDPA, from 4096",
            most(against_torch),
            False,
            1.2,
        ),
        Bar(
            "causal FAVOR+ over the assembled peer at 16384",
            times([FAVOR], ["assembled"], lengths=at_16k),
            True,
            4.0,
        ),
        Bar(
            "causal FAVOR+ over the form of the paper at 16384",
            times([FAVOR], ["as in the paper"], lengths=at_16k),
            True,
            12.0,
        ),
        Bar(
            "causal FAVOR+ at 16384, GiB beside its inputs",
            value(found, FAVOR, "ours", 16384, "bytes") / GIB,
            False,
            0.6,
        ),
        Bar(
            "growth exponent of causal FAVOR+, 2048 to 65536",
            exponent(found, FAVOR, "ours"),
            False,
            1.05,
        ),
        Bar(
            "causal linear attention over the chunk form, from 4096",
            times([ELU], ["chunk form"]),
            True,
            3.0,
        ),
        Bar(
            "growth exponent of causal linear attention, 2048 to 65536",
            exponent(found, ELU, "ours"),
            False,
            1.05,
        ),
        Bar(
            "FAVOR+ in both directions over the form of the paper, 4096 to 16384",
            times([BOTH_WAYS], ["as in the paper"], lengths=medium),
            True,
            2.0,
        ),
        Bar("its memory, in that of the paper's form", 1.0 / smaller, False, 1.0 / 3.0),
        Bar(
            "Nystrom module over the faster of the two packages",
            times([NYSTROM], packages, lengths=(0, 65536)),
            True,
            1.5,
        ),
    ]


def _least(numbers: Sequence[float]) -> float:
    return min(numbers, default=math.nan)


def _most(numbers: Sequence[float]) -> float:
    return math.nan if any(map(math.isnan, numbers)) else max(numbers, default=math.nan)


def page(found: Found, about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    run = pages.about_the_run(found, about, PACKAGES)
    lines = [
        "# Attention side by side",
        "",
        text(INTRODUCTION.format(**about | run)),
        "",
        text(PEERS),
        "",
        "## Bars",
        "",
        *pages.bar_rows(bars(found)),
    ]
    lines += ["", "## Growth and crossings", ""]
    lines += [row("way", "exponent, 2048 to 65536", "faster than exact softmax from")]
    lines += [row(*3 * ["---"])]
    for label, table, exact in (
        ("causal FAVOR+", FAVOR, CAUSAL_SOFTMAX),
        ("causal linear attention", ELU, CAUSAL_SOFTMAX),
        ("FAVOR+ in both directions", BOTH_WAYS, SOFTMAX),
    ):
        cross = crossing(found, table, "ours", exact)
        first = table.ways["ours"][0]
        where = (
            "nowhere"
            if math.isnan(cross)
            else f"the first length, {first}"
            if cross == 0.0
            else f"{cross:.0f}"
        )
        slope = f"{exponent(found, table, 'ours'):.2f}"
        lines.append(row(label, slope, where))
    for table in TABLES:
        lines += ["", f"## {table.title}", "", row("length", *table.ways)]
        lines += [row(*(len(table.ways) + 1) * ["---"])]
        lengths = sorted({n for each in table.ways.values() for n in each})
        for length in lengths:
            entries = (found.get(name(table, way, length)) for way in table.ways)
            lines.append(row(str(length), *map(pages.shown, entries)))
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints every cell and, if asked, writes the page."""
    pages.main(
        "attention", argv, tasks=tasks, page=page, packages=PACKAGES, quick=QUICK
    )


if __name__ == "__main__":
    main(sys.argv[1:])
