"""Comments as rows of characters, some with a verdict: 0 is bad and 1 is good."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from kexue_jax.data import fetch
from kexue_jax.data.labelled import Batch, Labelled
from kexue_jax.data.order import Shuffled
from kexue_jax.data.parts import Part, parted
from kexue_jax.data.registry import DataSet
from kexue_jax.data.reviews import Review, drawn_reviews

PADDING, UNKNOWN = 0, 1
"""Tokens: 0 fills rows up, 1 is any rare character; the rest are frequent ones."""


def read_comments(lines: Iterable[str]) -> list[Review]:
    r"""Returns what stands in a file of comments, in each line a text, a tab, 0 or 1.

    Raises:
      ValueError: if a line is not of this form.

    >>> read_comments(["quiet rooms\t1\n"])
    [Review(text='quiet rooms', label=1)]
    """
    found = []
    for number, line in enumerate(lines):
        text, tab, label = line.rstrip("\r\n").rpartition("\t")
        if not tab or label not in ("0", "1"):
            raise ValueError(
                f"line {number + 1} must be a text, a tab and 0 or 1, got {line!r:.80}"
            )
        found.append(Review(text, int(label)))
    return found


def character_rows(
    texts: Sequence[str], known: dict[str, int], *, length: int
) -> np.ndarray:
    """Returns the numbers of the first characters: ``[N, length]`` int32.

    Args:
      texts: may be empty.
      known: numbers of characters, from 2 on; another character is `UNKNOWN`.
      length: places of a row; `PADDING` behind the end of a text.

    >>> character_rows(["ab", ""], {"b": 2}, length=3).tolist()
    [[1, 2, 0], [0, 0, 0]]
    """
    rows = np.full((len(texts), length), PADDING, np.int32)
    for row, text in zip(rows, texts, strict=True):
        found = [known.get(character, UNKNOWN) for character in text[:length]]
        row[: len(found)] = found
    return rows


def comments(
    name: str | DataSet = "sentiment_comments",
    *,
    labels: int | None = None,
    vocabulary: int = 3000,
    length: int = 128,
    batch: int = 50,
    unlabelled_batch: int | None = None,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Labelled:
    """Returns comments as characters: ``train`` to learn from and ``valid`` held out.

    Of the comments of bert4keras' examples many are there twice, and 669 of those to
    judge stand among those to learn from: a text is one example, with its first label,
    and what is held out is not learned from.

    Args:
      name: ``sentiment_comments``, on goods, hotels and books, in Chinese; a `DataSet`
        of that form, or ``drawn`` for 400 and 100 of
        `kexue_jax.data.reviews.drawn_reviews`, which need no file.
      labels: how many of those to learn from have a label, drawn with `seed`; None
        for all.
      vocabulary: characters that have a number of their own, the most frequent, and
        `PADDING` and `UNKNOWN`.
      length: places of a row; what a text has beyond is cut off.
      batch: comments with a label a step.
      unlabelled_batch: comments of all, their labels withheld, a step, as
        ``unlabelled``; None for none.
      seed: of the orders and of who has a label.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Returns:
      Rows ``[B, length]`` int32 below `vocabulary`, of two classes.

    Raises:
      ValueError: if a number is out of range, for another name, or a file of another
        form.
      DataNotFoundError: if the files are neither here nor to be fetched.

    Source: the examples of bojone/bert4keras.
    """
    least = dict(labels=labels or 1, length=length, unlabelled=unlabelled_batch or 1)
    for argument, value in least.items():
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}")
    if vocabulary < 3:
        raise ValueError(f"vocabulary must be at least 3, got {vocabulary}")
    if name == "drawn":
        found = [drawn_reviews(count, seed=n) for n, count in enumerate((400, 100))]
    elif isinstance(name, DataSet) or name == "sentiment_comments":
        found = []
        for part in ("train", "valid"):
            with fetch.open_text(name, f"sentiment.{part}.data.gz", path) as lines:
                found.append(read_comments(lines))
    else:
        raise ValueError(f"name must be 'sentiment_comments' or 'drawn', got {name!r}")
    apart: dict[str, int] = {}
    for review in found[1]:
        apart.setdefault(review.text, review.label)
    once: dict[str, int] = {}
    for review in found[0]:
        if review.text not in apart:
            once.setdefault(review.text, review.label)
    counts = Counter(character for text in once for character in text)
    frequent = sorted(counts, key=lambda c: (-counts[c], c))[: vocabulary - 2]
    known = {character: number + 2 for number, character in enumerate(frequent)}

    def part(texts: dict[str, int]) -> Part:
        rows = character_rows([*texts], known, length=length)
        return Part(rows, np.array([*texts.values()], np.int32))

    train, held_out = part(once), part(apart)
    few = train
    if labels is not None:
        if labels > len(train.label):
            raise ValueError(
                f"labels must be at most {len(train.label)}, the comments there are, "
                f"got {labels}"
            )
        draws = np.random.Generator(np.random.Philox(seed))
        chosen = draws.permutation(len(train.label))[:labels]
        few = Part(train.inputs[chosen], train.label[chosen])
    whole = parted(few, held_out, batch=batch, seed=seed)
    if unlabelled_batch is None:
        return whole
    order = Shuffled(len(train.label), unlabelled_batch, seed)

    def rows(step: int) -> Batch:
        return whole.source(step) | {"unlabelled": train.inputs[order.indices(step)]}

    return Labelled(whole.classes, rows, whole.held_out)
