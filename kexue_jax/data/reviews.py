"""Reviews as rows of bytes, with the verdict of each: 0 is bad and 1 is good."""

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.labelled import Labelled
from kexue_jax.data.parts import Part, parted
from kexue_jax.data.registry import DataSet

PADDING, VOCABULARY = 0, 257
"""Tokens: 0 fills rows up, and 1 to 256 are the bytes 0 to 255."""

HEADER = "label\ttext_a"


class Review(NamedTuple):
    """What somebody wrote, and whether it is good (1) or bad (0)."""

    text: str
    label: int


def byte_rows(texts: Sequence[str | bytes], *, length: int) -> np.ndarray:
    """Returns the first bytes of texts as tokens: ``[N, length]`` int16.

    Args:
      texts: str, read as UTF-8, or bytes; a text may be empty. One of more than
        `length` bytes is cut there, also within a character.
      length: places of a row, at least 1.

    Returns:
      Bytes plus 1, and `PADDING` behind the end of a text.

    Raises:
      ValueError: if `length` is less than 1.

    >>> byte_rows(["A", ""], length=3).tolist()
    [[66, 0, 0], [0, 0, 0]]
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    rows = np.full((len(texts), length), PADDING, np.int16)
    for row, text in zip(rows, texts, strict=True):
        found = text.encode() if isinstance(text, str) else text
        found = np.frombuffer(found[:length], np.uint8)
        row[: len(found)] = found + np.int16(1)
    return rows


def read_reviews(lines: Iterable[str]) -> list[Review]:
    r"""Returns what stands in a file of ChnSentiCorp.

    Args:
      lines: `HEADER`, then ``label<tab>text`` in each; line ends are passed over, as
        are empty lines.

    Raises:
      ValueError: for another header, or a line that is not of this form.

    >>> read_reviews(["label\ttext_a\n", "1\tquiet rooms\n"])
    [Review(text='quiet rooms', label=1)]
    """
    found = []
    for number, line in enumerate(lines):
        line = line.rstrip("\r\n")
        label, tab, text = line.partition("\t")
        if number == 0:
            if line != HEADER:
                raise ValueError(f"line 1 must be {HEADER!r}, got {line!r}")
        elif line:
            if label not in ("0", "1") or not tab:
                raise ValueError(
                    f"line {number + 1} must be 0 or 1, a tab and a text, got {line!r}"
                )
            found.append(Review(text, int(label)))
    return found


def drawn_reviews(count: int, *, seed: int) -> list[Review]:
    """Returns sentences put together from a few words, for runs without any file.

    What is praised or blamed is said outright or by the opposite with a "not", so that
    words alone do not tell the verdict, and words with what stands before them do.
    """
    draws = random.Random(seed)
    adjectives = (("dirty", "noisy", "rude"), ("clean", "quiet", "kind"))
    found = []
    for _ in range(count):
        label, sentences = draws.randrange(2), []
        for _ in range(draws.randint(1, 3)):
            turned = draws.randrange(2)
            thing = draws.choice(("room", "staff", "hotel", "place"))
            what = draws.choice(adjectives[label ^ turned])
            sentences.append(f"the {thing} was {'not ' * turned}{what}")
        found.append(Review("; ".join(sentences), label))
    return found


def _cut_once(
    found: Iterable[Review], length: int, without: Mapping[bytes, int]
) -> dict[bytes, int]:
    """The first bytes of each text with the label it came with first."""
    once: dict[bytes, int] = {}
    for review in found:
        cut = review.text.encode()[:length]
        if cut not in without:
            once.setdefault(cut, review.label)
    return once


def _part(once: Mapping[bytes, int], length: int) -> Part:
    return Part(byte_rows([*once], length=length), np.array([*once.values()], np.int32))


def reviews(
    name: str | DataSet = "chnsenticorp",
    *,
    length: int = 4096,
    batch: int = 32,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Labelled:
    """Returns reviews as bytes: ``train`` to learn from and ``dev`` held out.

    Of ChnSentiCorp 353 of 9,600 reviews to learn from stand in ``dev`` as well, and
    many are there twice: texts that agree in their first `length` bytes are one, with
    the label of the first, and what is held out is not learned from. Whole, they are
    7,914 and 1,178; half of them have at most 213 bytes, three to a Chinese character,
    and one in a hundred more than 1,500.

    Args:
      name: ``chnsenticorp``, a `DataSet` with files of that name and form, or ``drawn``
        for `drawn_reviews`, 400 and 100, which need no file.
      length: places of a row, at least 1; what a text has beyond is cut off.
      batch, seed: as in `kexue_jax.data.parts.parted`.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Returns:
      Rows of tokens ``[B, length]`` int32 below `VOCABULARY`, 0 behind their end, of
      two classes.

    Raises:
      ValueError: for another name, a length or batch less than 1, or a file of another
        form.
      DataNotFoundError: if the files are neither here nor to be fetched.

    Source: Tan and Zhang 2008, in the split of Cui et al. 2019. The task is that of
      Tay et al., https://arxiv.org/abs/2011.04006, where reviews are those of IMDb,
      English and longer.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if name == "drawn":
        found = [drawn_reviews(count, seed=n) for n, count in enumerate((400, 100))]
    elif isinstance(name, DataSet) or name == "chnsenticorp":
        found = []
        for file in ("train.tsv.gz", "dev.tsv.gz"):
            with fetch.open_text(name, file, path) as lines:
                found.append(read_reviews(lines))
    else:
        raise ValueError(f"name must be 'chnsenticorp' or 'drawn', got {name!r}")
    apart = _cut_once(found[1], length, {})
    train = _cut_once(found[0], length, apart)
    return parted(_part(train, length), _part(apart, length), batch=batch, seed=seed)
