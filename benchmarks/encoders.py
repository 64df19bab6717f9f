"""Encoders side by side: training, inference, span heads, tokens and chains.

    python -m benchmarks.encoders [--write] [--only=REGEX] [--quick] [--cores=1]

Every cell runs in a process of its own, in which what is compared takes turns, compiled
before it is timed. With ``--write`` the cells are written to
``docs/benchmarks/encoders.json`` and the tables and bars, all computed from them, to
the page of it. ``--only`` takes the cells whose name (``step/small, 16``) has a match
and leaves the others as they were written; ``--quick`` leaves the larger encoder out;
``--cores=1`` pins each process.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks import pages
from benchmarks.encoders_ways import (
    FEATURES,
    HEAD,
    LENGTH,
    MASKED,
    PLACES,
    ROWS,
    SIZES,
    SPANS,
    TAGS,
    TYPES,
    VOCABULARY,
    pointer_operations,
)
from benchmarks.pages import Bar, Found, row, text

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "numpy",
    "tokenizers",
    "torch",
    "transformers",
    "pytorch-crf",
)
QUICK = 29  # millions of parameters
PARAMETERS = {"small": 29, "base": 110}
LIMIT = 1800.0  # seconds, for steps in float64
INTRODUCTION = """
Written by `python -m benchmarks.encoders --write`; no cell is typed. On {cores} core(s)
({processor}, {days}; {versions}). Every cell in a process of its own, where what is
compared takes turns, round by round; everything is float32. A cell of a table holds the
median time, the highest memory of a call beyond what stood before (results included),
and the error; behind it, how often the time of ours fits into it, the median of the
ratios of the rounds. {clock} At the end the machine had a load of {load}, this run
included.
"""
MODELS = """
*small* has {small[num_hidden_layers]} layers of {small[hidden_size]} features, *base*
{base[num_hidden_layers]} of {base[hidden_size]}, as BERT has them, with
{vocabulary:,} tokens; texts have {length} tokens and no padding, and there is no
dropout. Both sides have the same weights: transformers draws and writes them and
`load_pretrained` reads the file. Transformers has `attn_implementation="sdpa"`, is not
compiled, and is given no mask, so that it makes none. *Ours* is the model made with
`attention=heads_first_attention` and, for training, `with_linear_products`, which give
the same in an order that suits CPUs; *as it comes* is the model without either.
"""
STEPS = """
A step is forward, backward and AdamW. {masked} tokens of each text are hidden. Ours is
`optax.adamw` and the model with the vocabulary head at the hidden places alone
(`places=`), all in one jitted function that is given params and state to keep. That of
transformers is its `BertForMaskedLM` with labels, which scores all places, and
`torch.optim.AdamW(fused=True)`; *gathered* is the same with its states taken at the
hidden places before its head, which a user has to write. The process keeps freed
memory, as those of `experiments.run` do (`experiments.memory`); *given back* is one
that does not, as those of the other tables. The error is the largest of the first two
losses, relative to the same steps in float64.
"""
SHARES = """
Operations are those of matrix products alone, two for a product and its sum, forward
once and backward twice, with the head at the hidden places; activations, norms, the
softmax and AdamW count as nothing and take time. The peak is that of the fastest of
square products of 1,024 and 2,048 rows in jax and torch, in the same rounds. What
ours gains over transformers is the product of two factors: *by the gathered head*,
which transformers gains as well where its user gathers, and *the rest*, ours over that.
"""
INFERENCE = """
States of the last layer, in torch under `inference_mode`. The error is the largest
deviation from float64, in units of the largest state.
"""
POINTERS = """
The loss of a head with {types} types of {head} features on states of {features}, and
its gradients, of weights and states; {spans} spans a text. Ours never holds all scores
at once and leaves out the half below the diagonal; the others make all of them and then
the loss. *Torch* is the program of bert4keras line by line, which subtracts 1e12 from
what is hidden; *lean* has the fewest copies that were found for it. The error is the
largest of loss and gradients, each in units of its largest entry, beside float64.
"""
MAPPED = """
The map is the same product in every way: where it is nearly all, no form of the loss
can gain much over another.
"""
DECODING = """
From scores of the same sizes, -inf below the diagonal, to the spans of each text:
`decode_batch` beside `(scores > 0).nonzero()`, the scores there, and a loop that puts
them into the list of their text. The error is the share of the {spans} spans a text
that are not found, or found and not there.
"""
TOKENS = """
English is the documentation of Python that every interpreter has, in paragraphs, with
the vocabulary of BERT; Chinese is reviews of hotels, books and computers. Ours is
`WordPiece.encode_all`, which gives tokens, segments, offsets and what was put around as
arrays. Both call the library tokenizers, which uses all cores; what differs is what is
made of its answer. *Transformers* gives tokens, segments and a mask as lists, *with
offsets* all that ours gives. The error is the share of texts with other tokens.
"""
CHAINS = """
{rows} rows of {places} places, of which at least half are kept, and {tags} tags. The
likelihood comes with all its gradients, and its error is the largest of these in units
of the largest entry; that of the best sequences is the share of rows that differ from
float64. There is no bar.
"""


class Table(NamedTuple):
    """Cells that stand beside each other: ways in columns, cases in rows."""

    title: str
    kind: str
    about: str
    ways: Sequence[str]  # the first is ours
    cases: dict[str, dict[str, Any]]  # the arguments of each


def _sized(
    batches: Sequence[tuple[str, int]], **more: Any
) -> dict[str, dict[str, Any]]:
    return {
        f"{size}, {batch}": dict(size=size, batch=batch) | more
        for size, batch in batches
    }


LENGTHS = {
    f"{length}, {batch}": dict(length=length, batch=batch)
    for length, batch in ((128, 16), (512, 4))
}
TABLES = (
    Table(
        "A step of masked language modelling",
        "step",
        STEPS,
        ("ours", "ours, as it comes", "transformers", "transformers, gathered"),
        _sized([("small", 16), ("base", 8)], keeps=True)
        | {"small, 16, given back": dict(size="small", batch=16)},
    ),
    Table(
        "Inference",
        "inference",
        INFERENCE,
        ("ours", "ours, as it comes", "transformers"),
        _sized([("small", 1), ("small", 16), ("base", 1), ("base", 16)]),
    ),
    Table(
        "GlobalPointer, forward and backward",
        "pointer",
        POINTERS,
        ("ours", "plain JAX", "torch", "torch, lean"),
        LENGTHS,
    ),
    Table("Spans from scores", "decode", DECODING, ("ours", "torch"), LENGTHS),
    Table(
        "Texts to tokens",
        "tokens",
        TOKENS,
        ("ours", "transformers", "transformers, with offsets"),
        {language: dict(language=language) for language in ("English", "Chinese")},
    ),
    Table(
        "Linear chains",
        "chain",
        CHAINS,
        ("ours", "pytorch-crf"),
        {task: dict(task=task) for task in ("loss", "best")},
    ),
)
STEP, INFERRED, POINTER, DECODE, TOKENISED, _ = TABLES
FIRST = {"tokens": "texts", "chain": "task", "pointer": "length, batch"}
FIRST |= {"decode": "length, batch"}


def name(kind: str, case: str) -> str:
    """The name of a cell, for ``--only`` and in the file of results."""
    return f"{kind}/{case}"


def tasks() -> Iterator[pages.Task]:
    """Every cell."""
    make = "benchmarks.encoders_ways:make"
    for table in TABLES:
        for case, arguments in table.cases.items():
            size = PARAMETERS.get(arguments.get("size", ""), 0)
            given = dict(kind=table.kind) | arguments
            cell = name(table.kind, case)
            yield pages.Task(cell, make, given, size, LIMIT)


def value(
    found: Found, table: Table, case: str, way: str, field: str = "ratio"
) -> float:
    """A figure of a way in a cell; nan where it was not measured."""
    ways = found.get(name(table.kind, case), {}).get("ways", {})
    return ways.get(way, {}).get(field, math.nan)


def least(
    found: Found, table: Table, way: str, cases: Sequence[str] | None = None
) -> float:
    """How often ours fits into the time of a way, the least over cases."""
    cases = tuple(table.cases) if cases is None else cases
    got = [value(found, table, case, way) for case in cases]
    return math.nan if any(map(math.isnan, got)) else min(got)


def bars(found: Found) -> list[Bar]:
    """The goals, and the least favourable of what was found for each."""
    base = name("step", "base, 8")
    long, short = "512, 4", "128, 16"
    slower = 1.0 / least(found, TOKENISED, "transformers")
    goals = [
        Bar(
            "step of small over transformers",
            value(found, STEP, "small, 16", "transformers"),
            True,
            2.0,
        ),
        Bar(
            "step of base over transformers",
            value(found, STEP, "base, 8", "transformers"),
            True,
            1.25,
        ),
        Bar(
            "step of base, as a share of the peak of products",
            found.get(base, {}).get("share", math.nan),
            True,
            0.85,
        ),
    ]
    goals += [
        Bar(
            f"inference of {case}, over transformers",
            value(found, INFERRED, case, "transformers"),
            True,
            1.0,
        )
        for case in INFERRED.cases
    ]
    goals += [
        Bar(
            f"GlobalPointer at {case}, over {way}",
            value(found, POINTER, case, way),
            True,
            goal,
        )
        for case, way, goal in (
            (long, "torch", 4.0),
            (short, "torch", 1.8),
            (long, "plain JAX", 1.3),
            (short, "plain JAX", 1.3),
        )
    ]
    goals += [
        Bar(
            f"GlobalPointer at {case}, memory in that of {way}",
            value(found, POINTER, case, "ours", "bytes")
            / value(found, POINTER, case, way, "bytes"),
            False,
            1.0 / 3.0,
        )
        for case in (long, short)
        for way in ("torch", "plain JAX")
    ]
    goals += [
        Bar(
            f"spans from scores at {case}, over torch",
            value(found, DECODE, case, "torch"),
            True,
            3.0,
        )
        for case in (long, short)
    ]
    goals.append(Bar("tokens, in the time of transformers", slower, False, 1.2))
    return goals


def _rows(found: Found, table: Table) -> list[str]:
    """A table of cells, with ratios behind those of others."""
    lines = [row(FIRST.get(table.kind, "model, batch"), *table.ways)]
    lines += [row(*(len(table.ways) + 1) * ["---"])]
    for case in table.cases:
        cell = found.get(name(table.kind, case), {})
        if "failed" in cell:
            lines.append(row(case, cell["failed"], *(len(table.ways) - 1) * [""]))
            continue
        entries = []
        for way in table.ways:
            got = cell.get("ways", {}).get(way)
            ratio = f", {got['ratio']:.2f}" if got and way != table.ways[0] else ""
            entries.append(pages.shown(got) + ratio)
        lines.append(row(case, *entries))
    return lines


def _share_rows(found: Found) -> list[str]:
    """What of the peak a step reaches, and what of a gain is the gathered head."""
    head = ("model, batch", "GFLOP", "of the head", "peak, GFLOP/s", "share of it")
    head += ("tokens a second", "over transformers", "by the gathered head", "the rest")
    lines = [row(*head), row(*len(head) * ["---"])]
    for case, arguments in STEP.cases.items():
        cell = found.get(name("step", case), {})
        if "share" not in cell:
            continue
        needed, whole = cell["operations"], value(found, STEP, case, "transformers")
        other = value(found, STEP, case, "transformers, gathered")
        tokens = arguments["batch"] * LENGTH / cell["ways"]["ours"]["median"]
        lines.append(
            row(
                case,
                f"{needed['all'] / 1e9:.0f}",
                f"{needed['head'] / 1e9:.0f}",
                f"{cell['peak'] / 1e9:.0f}",
                f"{cell['share']:.2f}",
                f"{tokens:.0f}",
                f"{whole:.2f}",
                f"{whole / other:.2f}",
                f"{other:.2f}",
            )
        )
    return lines


def _map_share(sizes: dict[str, Any]) -> str:
    """A sentence: what share of the products is the map to queries and keys."""
    mapped, scored = pointer_operations(**sizes)
    return (
        f"At {sizes['length']} tokens the map to queries and keys is "
        f"{100.0 * mapped / (mapped + scored):.0f} % of the products of dense scores."
    )


def page(found: Found, about: dict[str, Any]) -> str:
    """Returns the page of the results."""
    run = pages.about_the_run(found, about, PACKAGES)
    sizes = dict(
        vocabulary=VOCABULARY,
        length=LENGTH,
        masked=MASKED,
        types=TYPES,
        head=HEAD,
        features=FEATURES,
        spans=SPANS,
        rows=ROWS,
        places=PLACES,
        tags=TAGS,
        **SIZES,
    )
    lines = [
        "# Encoders side by side",
        "",
        text(INTRODUCTION.format(**about | run)),
        "",
        text(MODELS.format(**sizes)),
        "",
        "## Bars",
        "",
        *pages.bar_rows(bars(found)),
    ]
    for table in TABLES:
        lines += ["", f"## {table.title}", "", text(table.about.format(**sizes)), ""]
        lines += _rows(found, table)
        if table is POINTER:
            lines += ["", text(*map(_map_share, table.cases.values()), MAPPED)]
        if table is STEP:
            lines += ["", text(SHARES), "", *_share_rows(found)]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> None:
    """Measures, prints every cell and, if asked, writes the page."""
    pages.main("encoders", argv, tasks=tasks, page=page, packages=PACKAGES, quick=QUICK)


if __name__ == "__main__":
    main(sys.argv[1:])
