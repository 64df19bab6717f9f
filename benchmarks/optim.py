"""Optimizers side by side: time, memory and error of a step, and of merges.

    python -m benchmarks.optim [--write] [--only=REGEX] [--quick] [--cores=1]

Every cell runs in a process of its own, in which what is compared takes turns, compiled
before it is timed. With ``--write`` the cells are written to
``docs/benchmarks/optim.json`` and the tables and bars, all computed from them, to the
page of it. ``--only`` takes the cells whose name (``steps/lamb/109``) has a match and
leaves the others as they were written; ``--quick`` takes trees of up to 31 million
parameters; ``--cores=1`` pins each process.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks import pages
from benchmarks.optim_ways import MERGES
from benchmarks.pages import Bar, Found, row, text

PACKAGES = ("jax", "jaxlib", "numpy", "optax", "torch", "torchjd")
QUICK = 31
LAYERS = {31: 1, 109: 12}  # of a BERT of so many million parameters
MILLIONS, OBJECTIVES = 10, (2, 10)  # of merges
INTRODUCTION = """
Written by `python -m benchmarks.optim --write`; no cell is typed. On {cores} core(s)
({processor}, {days}; {versions}). Every cell in a process of its own, where what is
compared takes turns, round by round, with a triad `b + s c` in place between them.
Ratios are medians of the ratios of the rounds. {clock} At the end the machine had a
load of {load}, this run included.
"""
STEPS = """
A step is the update and its application, jitted, params and state donated, on the tree
of a BERT with {millions} million parameters in float32 whose gradient is 0 in most rows
of the words, as a batch leaves it. *of the bound*: the time in units of what it takes
to move, at the bandwidth of the triad, what must be moved: gradients and params are
read, params written, moments read and written. *over it*: the time of the peer in that
of the way. *arrays*: bytes beyond inputs and outputs, as a share of the parameters.
*error*: after 50 steps of a small tree, the root mean square of the difference from the
same in float64 NumPy, in units of that of the change.
"""
PASSES = """
`optax.adamw` and `optax.lion` make a pass for each array they write. That is 40 bytes a
parameter where 28 would do, and for Lion, which needs the old momentum in both of its
passes and so copies it, 36 in place of 20, in a new array at each step. An array that
is made in a step costs more than a pass, as the system gives its pages anew. LAMB makes
one, as it cannot step before it has the norm of its direction, and rows that keep their
moments make one for each of these.
"""
MERGED = """
The gradients of K objectives, {millions} million parameters: a tree of `[K, ...]` for
ours, the matrix `[K, P]` for torchjd. A cell holds the median time, the bytes beyond
the gradients (the result included) in units of one gradient, and the objective where
there is one: of MGDA the length of the result, of CAGrad minus the gain of the worst
off. Less is better.
"""

# way -> the peer of its bar and others of the same use
ADAM = {
    "adax": (),
    "adaxw": (),
    "lamb": ("optax.lamb",),
    "lookahead(adamw)": ("optax.lookahead",),
    "lazy_rows(adamw)": (),
    "lazy_rows of embeddings": (),
    "smooth clip, adamw": ("optax clip, adamw",),
    "adamw, average_weights": (),
    "accumulate_in_momentum": (),
}
PEERS: dict[str, Sequence[str]] = {
    **{way: ("optax.adamw", *others) for way, others in ADAM.items()},
    "tiger": ("optax.lion",),
    "sign momentum": ("optax.lion",),
    "adafactor": ("optax.adafactor",),
}
NARROW = {
    "adaxw, bf16 mu": ("adaxw", "adamw, bf16 mu"),
    "adaxw, bf16 mu and nu": ("adaxw",),
    "tiger, bf16 mu": ("tiger",),
}


def name(kind: str, way: str, size: int) -> str:
    """The name of a cell, for ``--only`` and in the file of results."""
    return f"{kind}/{way}/{size}"


def tasks() -> Iterator[pages.Task]:
    """Every cell."""
    make = "benchmarks.optim_ways:make"
    for size, layers in LAYERS.items():
        for way, peers in (PEERS | NARROW).items():
            arguments = dict(kind="steps", ways=[way, *peers], layers=layers)
            yield pages.Task(name("steps", way, size), make, arguments, size)
    for merge in MERGES:
        for count in OBJECTIVES:
            arguments = dict(kind="merges", merge=merge, objectives=count)
            cell = name("merges", f"{merge}, K = {count}", MILLIONS)
            yield pages.Task(cell, make, arguments, MILLIONS)


def entry(found: Found, cell: str, way: str) -> dict[str, Any]:
    """What was found of a way in a cell, empty if nothing was."""
    return found.get(cell, {}).get("ways", {}).get(way, {})


def bars(found: Found) -> list[Bar]:
    """The goals, on the largest tree."""
    size = max(LAYERS)

    def of(way, field, whose):
        return entry(found, name("steps", way, size), whose).get(field, math.nan)

    made = [
        Bar(f"{way} over optax.adamw", of(way, "ratio", "optax.adamw"), True, 1 / 1.05)
        for way in ADAM
    ]
    made += [
        Bar(f"{way} over optax.lion", of(way, "ratio", "optax.lion"), True, 2.0)
        for way in ("tiger", "sign momentum")
    ]
    factored = of("adafactor", "ratio", "optax.adafactor")
    made.append(Bar("adafactor over optax.adafactor", factored, True, 3.0))
    made += [
        Bar(f"{way}, in units of its traffic", of(way, "bound", way), False, 1.5)
        for way in ADAM
    ]
    again = [of(way, "compilations", way) for way in PEERS]
    most = math.nan if any(map(math.isnan, again)) else max(again)
    made.append(Bar("compilations after the first step", most, False, 0.0))
    for merge in MERGES:
        for count, goal in zip(OBJECTIVES, (1.0, 2.0), strict=True):
            cell = name("merges", f"{merge}, K = {count}", MILLIONS)
            ratio = entry(found, cell, "torchjd").get("ratio", math.nan)
            made.append(Bar(f"{merge}, K = {count}, over torchjd", ratio, True, goal))
            if count == max(OBJECTIVES):
                made += _merged(found, merge, count)
    return made


def _merged(found: Found, merge: str, count: int) -> list[Bar]:
    """Goals of a merge beside its time."""
    cell = name("merges", f"{merge}, K = {count}", MILLIONS)
    ours, theirs = (entry(found, cell, way) for way in ("ours", "torchjd"))
    size = 4 * found.get(cell, {}).get("parameters", math.nan)
    copied = (ours.get("bytes", math.nan) - size) / (count * size)
    label = f"{merge}, K = {count}"
    bars = [Bar(f"{label}: gradients copied, as a share", copied, False, 0.5)]
    if merge in ("MGDA", "CAGrad"):
        low, high = (x.get("objective", math.nan) for x in (ours, theirs))
        more = (low - high) / abs(high)
        bars.append(Bar(f"{label}: objective above torchjd's", more, False, 1e-6))
    return bars


def _step_rows(found: Found, size: int, ways: Mapping[str, Sequence[str]]) -> list[str]:
    """The table of steps."""
    head = (
        "way",
        "ns / parameter",
        "of the bound",
        "arrays",
        "error",
        "peer",
        "over it",
    )
    lines = [row(*head), row(*len(head) * ["---"])]
    for way, peers in ways.items():
        cell = name("steps", way, size)
        if "failed" in found.get(cell, {}):
            lines.append(row(way, found[cell]["failed"], *(len(head) - 2) * [""]))
            continue
        count = found.get(cell, {}).get("parameters", math.nan)
        for at, whose in enumerate((way, *peers)):
            got = entry(found, cell, whose)
            if not got:
                continue
            ratio = f"{got['ratio']:.2f}" if at else ""
            lines.append(
                row(
                    "" if at else way,
                    f"{1e9 * got['median'] / count:.2f}",
                    f"{got['bound']:.2f}",
                    f"{got['bytes'] / (4 * count):.2f}",
                    "" if got["error"] is None else f"{got['error']:.0e}",
                    whose if at else "",
                    ratio,
                )
            )
    return lines


def _merge_rows(found: Found) -> list[str]:
    """The table of merges."""
    lines = [row("merge", "ours", "torchjd", "over it"), row(*4 * ["---"])]
    for merge in MERGES:
        for count in OBJECTIVES:
            label = f"{merge}, K = {count}"
            cell = name("merges", label, MILLIONS)
            size = 4 * found.get(cell, {}).get("parameters", math.nan)
            shown = []
            for way in ("ours", "torchjd"):
                got = entry(found, cell, way)
                if not got:
                    shown.append(found.get(cell, {}).get("failed", ""))
                    continue
                value = got["objective"]
                end = "" if value is None else f", {value:.6g}"
                made = got["bytes"] / size
                shown.append(f"{1e3 * got['median']:.1f} ms, {made:.2f}{end}")
            ratio = entry(found, cell, "torchjd").get("ratio")
            lines.append(row(label, *shown, "" if ratio is None else f"{ratio:.2f}"))
    return lines


def page(found: Found, about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    run = pages.about_the_run(found, about, PACKAGES)
    speeds = [
        cell["ways"]["triad"]["bandwidth"]
        for cell in found.values()
        if "triad" in cell.get("ways", {})
    ]
    speed = f"{min(speeds) / 1e9:.0f} to {max(speeds) / 1e9:.0f}" if speeds else "no"
    lines = [
        "# Optimizers side by side",
        "",
        text(INTRODUCTION.format(**about | run), f"The triad moved {speed} GB/s."),
        "",
        "## Bars",
        "",
        *pages.bar_rows(bars(found)),
    ]
    for size in sorted(LAYERS, reverse=True):
        lines += ["", f"## A step of {size} million parameters", ""]
        if size == max(LAYERS):
            lines += [text(STEPS.format(millions=size)), "", text(PASSES), ""]
        lines += _step_rows(found, size, PEERS)
        lines += ["", f"## Moments in bfloat16, {size} million parameters", ""]
        lines += _step_rows(found, size, NARROW)
    lines += ["", "## The gradients of many objectives", ""]
    lines += [text(MERGED.format(millions=MILLIONS)), "", *_merge_rows(found)]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints every cell and, if asked, writes the page."""
    pages.main("optim", argv, tasks=tasks, page=page, packages=PACKAGES, quick=QUICK)


if __name__ == "__main__":
    main(sys.argv[1:])
