"""Annotated texts in three parts, some of them cut from the first by a seeded rule."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.annotated import Example, text_of
from kexue_jax.data.registry import DataSet

E = TypeVar("E", bound=Example)


class Corpus(NamedTuple, Generic[E]):
    """Examples to learn from, to choose by and to report on, and what was noticed.

    `notes` count: ``repeated``, the examples of a part whose text stands before them in
    the same part; ``shared``, those whose text also stands in a later part; and what
    the readers of a set say that they met.
    """

    train: list[E]
    valid: list[E]
    test: list[E]
    notes: dict[str, int]


class Read(NamedTuple, Generic[E]):
    """What stands in a file, and counts of what was met in reading it."""

    examples: list[E]
    notes: Mapping[str, int]


class Form(NamedTuple):
    """Which files of a set make its parts, and how they are read.

    `source` is the name of a set of the registry, or a `DataSet` of your own.
    """

    source: str | DataSet
    read: Callable[..., Read]
    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


def cut_apart(
    examples: Sequence[E], parts: int, *, seed: int
) -> tuple[list[E], list[list[E]]]:
    """Cuts parts of a tenth of the distinct texts each from a sequence of examples.

    The texts, in the order in which they come first, are permuted with `seed`; the
    first tenth makes the first part, and so on. Examples keep their order.

    Args:
      examples: any.
      parts: how many to cut, from 0 to 9.
      seed: of the permutation.

    Returns:
      What is left, and the parts. No text is in two of them.

    Raises:
      ValueError: if `parts` is out of range.
    """
    if not 0 <= parts <= 9:
        raise ValueError(f"parts must be from 0 to 9, got {parts}")
    texts = [*dict.fromkeys(map(text_of, examples))]
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(texts))
    size = max(len(texts) // 10, 1)
    place = {texts[i]: min(n // size, parts) for n, i in enumerate(order)}
    found: list[list[E]] = [[] for _ in range(parts + 1)]
    for example in examples:
        found[place[text_of(example)]].append(example)
    return found[-1], found[:-1]


def corpus(
    train: Sequence[E],
    valid: Sequence[E] = (),
    test: Sequence[E] = (),
    *,
    seed: int = 0,
    notes: Mapping[str, int] | None = None,
) -> Corpus[E]:
    """Returns a corpus of three parts; a part that is empty is cut from `train`.

    Parts that are given stay as they are, also where they share texts; `apart` takes
    those out.

    Args:
      train, valid, test: examples.
      seed: of the cut, as in `cut_apart`.
      notes: more counts.
    """
    lacking = (not valid) + (not test)
    left, cut = cut_apart(train, lacking, seed=seed)
    parts = [left, [*(valid or cut[0])], [*(test or cut[-1])]]
    texts = [[*map(text_of, part)] for part in parts]
    later = [{*texts[1], *texts[2]}, {*texts[2]}]
    counts = {
        "repeated": sum(len(own) - len({*own}) for own in texts),
        "shared": sum(t in held for n, held in enumerate(later) for t in texts[n]),
    }
    return Corpus(*parts, notes=counts | dict(notes or {}))


def apart(whole: Corpus[E]) -> Corpus[E]:
    """Returns a corpus without the examples whose text also stands in a later part."""
    test = {*map(text_of, whole.test)}
    held = test | {*map(text_of, whole.valid)}
    return Corpus(
        [example for example in whole.train if text_of(example) not in held],
        [example for example in whole.valid if text_of(example) not in test],
        whole.test,
        whole.notes | {"shared": 0},
    )


def read_corpus(
    form: Form, *, seed: int = 0, path: str | os.PathLike | None = None
) -> Corpus:
    """Reads the files of a set into a `corpus`.

    Args:
      form: which files, and how they are read.
      seed: of the parts that are cut.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Raises:
      ValueError: if a file is of another form.
      DataNotFoundError: if the files are neither here nor to be fetched.
    """
    notes: Counter[str] = Counter()
    parts: list[list] = []
    for files in (form.train, form.valid, form.test):
        parts.append([])
        for file in files:
            with fetch.open_text(form.source, file, path) as lines:
                examples, met = form.read(lines)
            parts[-1] += examples
            notes.update(met)
    return corpus(*parts, seed=seed, notes=notes)
