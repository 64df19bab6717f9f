"""Texts with entities: CLUENER, People's Daily, MSRA, Weibo, resumes and CMeEE."""

import json
import os
from collections.abc import Collection, Iterable, Iterator
from functools import partial

from kexue_jax.algorithms.tagging import Scheme, repaired_spans, strict_spans
from kexue_jax.data.annotated import Entities, Span, check_annotations
from kexue_jax.data.corpora import Corpus, Form, Read, read_corpus

WEIBO_NAMED = ("PER.NAM", "GPE.NAM", "LOC.NAM", "ORG.NAM")
WEIBO_NOMINAL = ("PER.NOM", "GPE.NOM", "LOC.NOM", "ORG.NOM")


def _checked(found) -> Read[Entities]:
    """Puts spans in order and compares them with the words that the set gives."""
    examples, mentions = [], []
    for text, marked in found:
        marked = sorted({span: word for span, word in marked}.items())
        examples.append(Entities(text, tuple(span for span, _ in marked)))
        mentions.append([word for _, word in marked])
    check_annotations(examples, mentions)
    return Read(examples, {})


def read_cluener(lines: Iterable[str]) -> Read[Entities]:
    """Returns what stands in a file of CLUENER; its ends are those of last characters.

    Args:
      lines: JSON, ``{"text", "label": {type: {words: [[start, end], ...]}}}``.

    Raises:
      ValueError: if words are not where the file says.
    """
    found = []
    for line in filter(str.strip, lines):
        row = json.loads(line)
        marked = [
            (Span(start, end + 1, kind), word)
            for kind, words in row["label"].items()
            for word, places in words.items()
            for start, end in places
        ]
        found.append((row["text"], marked))
    return _checked(found)


def read_cmeee(lines: Iterable[str]) -> Read[Entities]:
    """Returns what stands in a file of CMeEE, whose entities nest; ends as in CLUENER.

    Args:
      lines: together JSON, ``[{"text", "entities": [{"start_idx", "end_idx", "type",
        "entity"}, ...]}, ...]``.

    Raises:
      ValueError: if words are not where the file says.
    """
    return _checked(
        (
            row["text"],
            [
                (Span(e["start_idx"], e["end_idx"] + 1, e["type"]), e["entity"])
                for e in row["entities"]
            ],
        )
        for row in json.loads("".join(lines))
    )


def _sentences(lines: Iterable[str], separator: str) -> Iterator[list[list[str]]]:
    """Rows of characters and tags, up to an empty line."""
    rows: list[list[str]] = []
    for number, line in enumerate(lines):
        line = line.rstrip("\r\n")
        if not line.strip():
            if rows:
                yield rows
            rows = []
            continue
        character, found, tag = line.rpartition(separator)
        if not found or not character or not tag:
            raise ValueError(
                f"line {number + 1} must be a character, {separator!r} and a tag, got "
                f"{line!r:.80}"
            )
        rows.append([character, tag])
    if rows:
        yield rows


def read_tagged(
    lines: Iterable[str],
    *,
    scheme: Scheme = "BIO",
    separator: str = " ",
    first_only: bool = False,
) -> Read[Entities]:
    r"""Returns what stands in a file with a character and a tag in each line.

    Where tags are at fault, a span that goes on with nothing begins there: in these
    sets it is the rest of an entity that was cut, or lacks its B by mistake.

    Args:
      lines: a sentence ends at an empty one.
      scheme: of the tags.
      separator: what is between the character and its tag.
      first_only: whether more may follow the character, such as its place in a word.

    Returns:
      Examples, and ``repaired``, how many spans strict reading would not find.

    Raises:
      ValueError: if a line or a tag is of another form.

    >>> read_tagged(["x B-LOC\n", "y I-LOC\n", "\n", "z O\n"]).examples[0].spans
    (Span(start=0, stop=2, type='LOC'),)
    """
    examples, repaired = [], 0
    for rows in _sentences(lines, separator):
        characters, tags = zip(*rows, strict=True)
        if first_only:
            characters = [character[0] for character in characters]
        elif any(len(character) != 1 for character in characters):
            raise ValueError(f"a line must have one character, got {characters}")
        spans = repaired_spans(tags, scheme)
        repaired += len({*spans} - {*strict_spans(tags, scheme)})
        examples.append(Entities("".join(characters), tuple(Span(*s) for s in spans)))
    check_annotations(examples)
    return Read(examples, {"repaired": repaired})


_WEIBO = partial(read_tagged, separator="\t", first_only=True)
_RESUME = partial(read_tagged, scheme="BMES")

SETS = {
    "ner_cluener": Form(
        "ner_cluener", read_cluener, ("train.json.gz",), test=("dev.json.gz",)
    ),
    "ner_peoples_daily": Form(
        "ner_peoples_daily", read_tagged, ("train_4636.txt.gz",), test=("dev.txt.gz",)
    ),
    "ner_msra_train": Form("ner_msra_train", read_tagged, ("train.txt.gz",)),
    "ner_weibo": Form(
        "ner_weibo",
        _WEIBO,
        *((f"weiboNER_2nd_conll.{part}.gz",) for part in ("train", "dev", "test")),
    ),
    "ner_resume": Form(
        "ner_resume",
        _RESUME,
        *((f"{part}.char.bmes.gz",) for part in ("train", "dev", "test")),
    ),
    "ner_cmeee_v2": Form("ner_cmeee_v2", read_cmeee, ("cmeee_v2_first4000.json.gz",)),
}
"""Of CLUENER and the People's Daily what is published to choose by is ``test``."""


def entities(
    name: str,
    *,
    types: Collection[str] | None = None,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Corpus[Entities]:
    """Returns the texts of a set with their entities.

    A part that the set lacks is a tenth of the distinct texts to learn from, as in
    `kexue_jax.data.corpora.corpus`.

    Args:
      name: one of `SETS`.
      types: which entities stay, such as `WEIBO_NAMED`; None for all.
      seed: of the parts that are cut.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or a file of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    if name not in SETS:
        raise ValueError(f"name must be one of {', '.join(SETS)}, got {name!r}")
    whole = read_corpus(SETS[name], seed=seed, path=path)
    if types is None:
        return whole
    chosen = frozenset(types)

    def kept(examples: list[Entities]) -> list[Entities]:
        return [
            Entities(text, tuple(span for span in spans if span.type in chosen))
            for text, spans in examples
        ]

    return Corpus(*map(kept, whole[:3]), notes=whole.notes)
