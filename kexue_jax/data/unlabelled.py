"""Texts to pretrain on, without labels: of sets that have them, and of every machine.

Nothing that a set holds to choose by or to report on is among them, and no text that
stands there: whoever begins with such a model and scores it on those parts does not
score what it has read. Parts that are cut from a set are cut with seed 0, as by all
configs of this repository.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch, prose
from kexue_jax.data.annotated import text_of
from kexue_jax.data.comments import read_comments
from kexue_jax.data.drawn_annotations import drawn
from kexue_jax.data.entities import entities
from kexue_jax.data.events import events
from kexue_jax.data.questions import questions
from kexue_jax.data.relations import marked_pairs, relations

SHORT = 10
"""Characters below which two texts have to be equal to be taken for the same."""


class Documents(NamedTuple):
    """Texts to learn from and texts held out, each of them once.

    `notes` count the characters of each set, and what was left out: ``repeated``, texts
    that were there before, and ``held_out_elsewhere``, texts that a set holds out.
    """

    train: tuple[str, ...]
    valid: tuple[str, ...]
    notes: dict[str, int]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the numbers and the SHA-256 of both parts."""
        found: dict[str, str | int] = {}
        for name, texts in (("train", self.train), ("valid", self.valid)):
            digest = hashlib.sha256("\0".join(texts).encode())
            found[f"{name}_documents"] = len(texts)
            found[f"{name}_documents_sha256"] = digest.hexdigest()
        return found


class Parts(NamedTuple):
    """Texts of a set to learn from, and those that it holds out."""

    train: list[str]
    apart: list[str]


Path = str | os.PathLike | None


def _annotated(read: Callable) -> Callable[[str, Path], Parts]:
    def parts(name: str, path: Path) -> Parts:
        found = read(name, path=path)
        apart = [text_of(example) for example in (*found.valid, *found.test)]
        return Parts([text_of(example) for example in found.train], apart)

    return parts


def _files(
    read: Callable[[Iterable[str]], Iterable[str]],
    train: Sequence[str],
    apart: Sequence[str],
) -> Callable[[str, Path], Parts]:
    def texts(name: str, path: Path, files: Sequence[str]) -> list[str]:
        found: list[str] = []
        for file in files:
            with fetch.open_text(name, file, path) as lines:
                found += read(lines)
        return found

    return lambda name, path: Parts(texts(name, path, train), texts(name, path, apart))


def _firsts(lines: Iterable[str]) -> Iterator[str]:
    """What stands before the tab in each line."""
    return (line.rpartition("\t")[0] for line in lines if "\t" in line)


def _comments(lines: Iterable[str]) -> Iterator[str]:
    return (review.text for review in read_comments(lines))


def _abstracts(lines: Iterable[str]) -> Iterator[str]:
    """Titles and their abstracts, each as one text."""
    for line in filter(str.strip, lines):
        row = json.loads(line)
        yield f"{row['title']}。{row['abst']}"


def _drawn(name: str, path: Path) -> Parts:
    del name, path  # it needs no file
    found = [text_of(example) for example in drawn("weather").train]
    return Parts(found, [text_of(example) for example in drawn("weather").test])


_ENTITIES, _TRIPLES = _annotated(entities), _annotated(relations)
SETS: dict[str, Callable[[str, Path], Parts]] = {
    "ner_msra_train": _ENTITIES,
    "ner_cluener": _ENTITIES,
    "ner_peoples_daily": _ENTITIES,
    "ner_weibo": _ENTITIES,
    "ner_resume": _ENTITIES,
    "ner_cmeee_v2": _ENTITIES,
    "re_duie": _TRIPLES,
    "re_finre": _annotated(marked_pairs),
    "ee_fewfc": _annotated(events),
    "mrc_cmrc2018": _annotated(questions),
    "mrc_drcd": _annotated(questions),
    "csl_title": _files(
        _abstracts, ["csl_title_train.json.gz"], ["csl_title_dev.json.gz"]
    ),
    "thucnews_title": _files(_firsts, ["train_10k.txt.gz"], ["test_odd5000.txt.gz"]),
    "sentiment_comments": _files(
        _comments,
        ["sentiment.train.data.gz"],
        ["sentiment.valid.data.gz", "sentiment.test.data.gz"],
    ),
    "re_nyt": _TRIPLES,
    "re_webnlg": _TRIPLES,
    "sst2": _files(_firsts, ["train.tsv.gz"], ["dev.tsv.gz"]),
    "drawn": _drawn,
}
"""What reads a set; ``drawn`` is made up and needs no file."""

CHINESE = (
    *("ner_msra_train", "ner_cluener", "ner_peoples_daily", "ner_weibo"),
    *("ner_resume", "ner_cmeee_v2", "re_duie", "re_finre", "ee_fewfc"),
    *("mrc_cmrc2018", "csl_title", "thucnews_title", "sentiment_comments"),
)
"""Sets in simplified characters: 6.2 million, of which `unlabelled` keeps 5.8."""

ENGLISH = ("re_nyt", "re_webnlg", "sst2")


def _plain(text: str) -> str:
    return "".join(text.split())


def standing_in(texts: Sequence[str], others: Sequence[str]) -> set[int]:
    """Returns which texts have one of the others in them whole, or stand in one whole.

    White space does not count. A text of less than `SHORT` characters is only looked
    for among others that are equal to it.

    >>> standing_in(["one", "two", "a four five six b"], ["two", "four five six"])
    {1, 2}
    """
    ours, theirs = [*map(_plain, texts)], [*map(_plain, others)]
    equal = {*theirs}
    found = {number for number, text in enumerate(ours) if text in equal}
    for number, _ in _contained(theirs, ours):
        found.add(number)
    for _, number in _contained(ours, theirs):
        found.add(number)
    return found


def _contained(
    parts: Sequence[str], wholes: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Yields ``(whole, part)`` where a part of `SHORT` characters or more stands."""
    starts: dict[str, list[int]] = {}
    for number, part in enumerate(parts):
        if len(part) >= SHORT:
            starts.setdefault(part[:SHORT], []).append(number)
    for whole, text in enumerate(wholes):
        for at in range(len(text) - SHORT + 1):
            for number in starts.get(text[at : at + SHORT], ()):
                if text.startswith(parts[number], at):
                    yield whole, number


def unlabelled(
    names: Sequence[str] = CHINESE,
    *,
    held_out: float = 0.01,
    seed: int = 0,
    path: Path = None,
) -> Documents:
    """Returns the texts of sets, without those that a set of them holds out.

    A text is left out if it stands in a text that one of the sets holds out, or has one
    in it, as `standing_in` says; and if it was there before.

    Args:
      names: of `SETS`.
      held_out: the share of the texts to hold out, between 0 and 1.
      seed: of which.
      path: folder of sets by name, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: for another name, or a share that leaves nothing to one side.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    unknown = [name for name in names if name not in SETS]
    if unknown or not names:
        raise ValueError(f"names must be of {', '.join(SETS)}, got {unknown or 'none'}")
    parts = {name: SETS[name](name, path) for name in names}
    once: dict[str, str] = {}
    notes, count = {}, 0
    for name, (train, _) in parts.items():
        before = sum(map(len, once.values()))
        for text in map(str.strip, train):
            once.setdefault(_plain(text), text)
        once.pop("", None)
        notes[name] = sum(map(len, once.values())) - before
        count += len(train)
    texts = [*once.values()]
    apart = [text for each in parts.values() for text in each.apart]
    bad = standing_in(texts, apart)
    notes |= {"repeated": count - len(texts), "held_out_elsewhere": len(bad)}
    texts = [text for number, text in enumerate(texts) if number not in bad]
    return _divided(texts, held_out=held_out, seed=seed, notes=notes)


def _divided(texts, *, held_out, seed, notes) -> Documents:
    """Holds out a share of texts, drawn with `seed`; both parts keep their order."""
    size = round(held_out * len(texts))
    if not 0 < size < len(texts):
        raise ValueError(
            "held_out must leave texts on both sides, got "
            f"{held_out} of {len(texts)} texts"
        )
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(texts))
    chosen = {*order[:size].tolist()}
    sides: tuple[list[str], list[str]] = [], []
    for number, text in enumerate(texts):
        sides[number in chosen].append(text)
    return Documents(tuple(sides[0]), tuple(sides[1]), notes)


def python_documents(*, seed: int = 0, held_out: float = 0.1) -> Documents:
    """Returns `kexue_jax.data.prose.python_prose` in passages; it needs no file.

    Args:
      seed, held_out: as there.
    """
    found = prose.python_prose(seed=seed, held_out=held_out)
    train, valid = (
        tuple(text.split(prose.SEPARATOR)) for text in (found.train, found.valid)
    )
    return Documents(train, valid, {"python": len(found.train) + len(found.valid)})
