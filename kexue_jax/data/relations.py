"""Texts with triples: DuIE, NYT and WebNLG; and pairs of places with one relation."""

import json
import os
import re
from collections.abc import Iterable
from functools import partial
from typing import Literal, NamedTuple

from kexue_jax.data.annotated import (
    MarkedPair,
    Relations,
    Span,
    Triple,
    check_annotations,
)
from kexue_jax.data.corpora import Corpus, Form, Read, read_corpus

Occurrence = Literal["first", "all"]


class Stated(NamedTuple):
    """A triple in words, as it stands in files that say no places."""

    subject: str
    predicate: str
    object: str
    subject_type: str = "entity"
    object_type: str = "entity"


def places(text: str, mention: str, *, words: bool = False) -> list[int]:
    """Returns where a mention starts in a text, at all its places.

    Args:
      text, mention: nothing is found of an empty mention.
      words: whether to pass over places within a longer word or number, if there are
        others.

    >>> places("sand and sand", "and"), places("sand and sand", "and", words=True)
    ([1, 5, 10], [5])
    """
    if not mention:
        return []
    found = [m.start() for m in re.finditer(f"(?={re.escape(mention)})", text)]

    def bounded(start: int) -> bool:
        around = text[max(start - 1, 0) : start], text[start + len(mention) :][:1]
        return not any(character.isalnum() for character in around)

    whole = [start for start in found if bounded(start)] if words else []
    return whole or found


def located(
    text: str,
    stated: Stated,
    *,
    occurrence: Occurrence = "first",
    words: bool = False,
) -> list[Triple]:
    """Returns a triple with its places; nothing if the text lacks one of them.

    Args:
      text: where the mentions are.
      stated: the triple in words.
      occurrence: ``"first"`` takes the first place of each mention, as all published
        baselines do; ``"all"`` makes a triple of every pair of places.
      words: as in `places`.

    Raises:
      ValueError: for another `occurrence`.
    """
    if occurrence not in ("first", "all"):
        raise ValueError(f"occurrence must be 'first' or 'all', got {occurrence!r}")
    count = 1 if occurrence == "first" else len(text)

    def spans(mention: str, kind: str) -> list[Span]:
        found = places(text, mention, words=words)[:count]
        return [Span(start, start + len(mention), kind) for start in found]

    targets = spans(stated.object, stated.object_type)
    return [
        Triple(subject, stated.predicate, target)
        for subject in spans(stated.subject, stated.subject_type)
        for target in targets
    ]


def _read(rows, *, occurrence: Occurrence, words: bool) -> Read[Relations]:
    """From texts and stated triples to examples; repeated triples are one."""
    examples, mentions = [], []
    met = {"unmatched": 0, "repeated_triples": 0}
    for text, stated in rows:
        once, marked = dict.fromkeys(stated), {}
        met["repeated_triples"] += len(stated) - len(once)
        for row in once:
            triples = located(text, row, occurrence=occurrence, words=words)
            met["unmatched"] += not triples
            marked |= {triple: (row.subject, row.object) for triple in triples}
        examples.append(Relations(text, tuple(marked)))
        mentions.append([word for pair in marked.values() for word in pair])
    check_annotations(examples, mentions)
    return Read(examples, met)


def flattened(row: dict) -> list[Stated]:
    """Returns the triples of a row of DuIE: one for each key of an object.

    The predicate ``P`` of an object ``{"@value": ..., "inWork": ...}`` becomes
    ``P@value`` and ``P@inWork``.
    """
    return [
        Stated(
            triple["subject"],
            f"{triple['predicate']}@{key.removeprefix('@')}",
            words,
            triple["subject_type"],
            triple["object_type"][key],
        )
        for triple in row["spo_list"]
        for key, words in triple["object"].items()
    ]


def read_duie(
    lines: Iterable[str], *, occurrence: Occurrence = "first"
) -> Read[Relations]:
    """Returns what stands in a file of DuIE 2.0, a text in JSON in each line.

    Returns:
      Examples; ``unmatched``, how many triples are not in their texts and left out; and
      ``repeated_triples``.
    """
    rows = map(json.loads, filter(str.strip, lines))
    pairs = ((row["text"], flattened(row)) for row in rows)
    return _read(pairs, occurrence=occurrence, words=False)


def read_triples(
    lines: Iterable[str], *, occurrence: Occurrence = "first"
) -> Read[Relations]:
    """Returns what stands in a file of NYT or WebNLG; results as those of `read_duie`.

    Mentions are looked for as whole words first.

    Args:
      lines: together JSON, ``[{"text", "triple_list": [[subject, predicate, object],
        ...]}, ...]``.
      occurrence: as in `located`.
    """
    rows = json.loads("".join(lines))
    pairs = ((r["text"], [Stated(*t) for t in r["triple_list"]]) for r in rows)
    return _read(pairs, occurrence=occurrence, words=True)


def _triples(source: str, folder: str, parts: tuple[str, ...]) -> Form:
    files = ((f"{folder}/{part}_triples.json.gz",) for part in parts)
    return Form(source, read_triples, *files)


_PARTS = ("train", "val", "test")
SETS = {
    "re_duie": Form(
        "re_duie",
        read_duie,
        ("train_a.json.gz", "train_b.json.gz"),
        test=("dev.json.gz",),
    ),
    "re_nyt": _triples("re_nyt", "NYT", ("val",)),
    "re_nyt_star": _triples("re_nyt", "NYT-star", ("val",)),
    "re_webnlg": _triples("re_webnlg", "WebNLG", _PARTS),
    "re_webnlg_star": _triples("re_webnlg", "WebNLG-star", _PARTS),
}
"""Of a set with a star only the last word of each entity is marked."""


def relations(
    name: str,
    *,
    occurrence: Occurrence = "first",
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Corpus[Relations]:
    """Returns the texts of a set with their triples.

    None of these sets says where in the text its mentions are. What is published of
    DuIE to choose by is ``test``; other parts that a set lacks are cut from ``train``
    as in `kexue_jax.data.corpora.corpus`.

    Args:
      name: one of `SETS`.
      occurrence: as in `located`.
      seed: of the parts that are cut.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Returns:
      A corpus with the notes of `read_duie`. Of NYT's 7,985 distinct triples 42 are not
      found, as the text lacks an accent of a name; of the other sets all are.

    Raises:
      ValueError: for another name or `occurrence`, or a file of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    form = SETS[name]
    form = form._replace(read=partial(form.read, occurrence=occurrence))
    return read_corpus(form, seed=seed, path=path)


_SENTENCE = re.compile(r'^\d+\t"(.*)"$')
_MARKS = re.compile(r"</?e[12]>")


def read_semeval(lines: Iterable[str]) -> Read[MarkedPair]:
    """Returns what stands in a file of SemEval-2010 Task 8, without its marks.

    Args:
      lines: ``id<tab>"sentence"`` with ``<e1>...</e1>`` and ``<e2>...</e2>``, the
        relation in the next line, and a comment, which is passed over.

    Raises:
      ValueError: if a sentence is not marked so.
    """
    rows = [line.rstrip("\r\n") for line in lines]
    examples, mentions = [], []
    for number, row in enumerate(rows):
        sentence = _SENTENCE.match(row)
        if sentence is None:
            continue
        marks = {m[0]: m.start() for m in _MARKS.finditer(sentence[1])}
        parts = _MARKS.split(sentence[1])
        if [*marks] != ["<e1>", "</e1>", "<e2>", "</e2>"] or len(parts) != 5:
            raise ValueError(f"line {number + 1} must mark e1 and then e2, got {row!r}")
        starts = len(parts[0]), sum(map(len, parts[:3]))
        head = Span(starts[0], starts[0] + len(parts[1]), "head")
        tail = Span(starts[1], starts[1] + len(parts[3]), "tail")
        examples.append(MarkedPair("".join(parts), head, tail, rows[number + 1]))
        mentions.append((parts[1], parts[3]))
    check_annotations(examples, mentions)
    return Read(examples, {})


def read_finre(lines: Iterable[str]) -> Read[MarkedPair]:
    """Returns what stands in a file of FinRE.

    Places are the first two that do not overlap, or the first ones if all do.

    Args:
      lines: ``head<tab>tail<tab>relation<tab>sentence``; empty ones are passed over.

    Returns:
      Examples, and ``overlapping``, how many have no places apart.

    Raises:
      ValueError: if a line is of another form, or its sentence lacks the mentions.
    """
    examples, mentions, overlapping = [], [], 0
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        row = line.rstrip("\r\n").split("\t")
        pairs = []
        if len(row) == 4:
            head, tail, relation, text = row
            pairs = [
                (Span(a, a + len(head), "head"), Span(b, b + len(tail), "tail"))
                for a in places(text, head)
                for b in places(text, tail)
            ]
        if not pairs:
            raise ValueError(
                f"line {number + 1} must be a head, a tail, a relation and a sentence "
                f"with both, got {line!r:.80}"
            )
        free = [(a, b) for a, b in pairs if a.stop <= b.start or b.stop <= a.start]
        overlapping += not free
        examples.append(MarkedPair(text, *(free or pairs)[0], relation))
        mentions.append((head, tail))
    check_annotations(examples, mentions)
    return Read(examples, {"overlapping": overlapping})


PAIR_SETS = {
    "re_semeval2010_task8": Form(
        "re_semeval2010_task8", read_semeval, ("TRAIN_FILE.TXT.gz",)
    ),
    "re_finre": Form(
        "re_finre",
        read_finre,
        *((f"{part}.txt.gz",) for part in ("train", "valid", "test")),
    ),
}


def marked_pairs(
    name: str, *, seed: int = 0, path: str | os.PathLike | None = None
) -> Corpus[MarkedPair]:
    """Returns the texts of a set with two places and their relation each.

    Args:
      name: one of `PAIR_SETS`. In FinRE texts come again with other places.
      seed, path: as in `relations`.

    Raises:
      ValueError: for another name, or a file of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in PAIR_SETS:
        raise ValueError(f"name must be one of {', '.join(PAIR_SETS)}, got {name!r}")
    return read_corpus(PAIR_SETS[name], seed=seed, path=path)
