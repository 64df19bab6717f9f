"""Sequences that may be written in either of two orders."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Translations:
    """Rows to translate, each with one translation to learn from and several valid.

    Batches hold ``inputs`` ``[B, T]`` int32, 0 past the end; ``label`` ``[B, T]``
    int32, the translation to learn from; ``weight`` ``[B, T]`` float32, 1 where there
    is a token; ``length`` ``[B]`` int32, that of all; ``references`` ``[B, R, T]``.

    Attributes:
      classes: tokens are below it; 0 fills up.
      source: from the step to a batch.
      held_out: batches.
    """

    classes: int
    source: Callable[[int], Batch]
    held_out: Sequence[Batch]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the classes and digests of batch 0 and of what is held out."""
        found: dict[str, str | int] = {"classes": self.classes}
        for name, batches in (("train", [self.source(0)]), ("valid", self.held_out)):
            digest = hashlib.sha256()
            for batch in batches:
                for key in sorted(batch):
                    digest.update(np.ascontiguousarray(batch[key]).tobytes())
            found[f"{name}_sha256"] = digest.hexdigest()
        return found


def two_orders(
    *,
    tokens: int = 20,
    length: int = 10,
    least: int = 6,
    batch: int = 64,
    seed: int = 0,
    held_out: int = 512,
) -> Translations:
    """Returns rows whose translation is word for word, forwards or backwards.

    Every token has one translation, a token of its own. Which of the orders is learned
    from is drawn anew in each row, and nothing in the input tells: a model that writes
    all places at once has each place right half of the time by cross-entropy, and mixes
    the two. Both are references.

    Args:
      tokens: how many there are to translate: 1 to this, and the translations of them
        the next as many.
      length, least: of the longest and shortest rows.
      batch: rows a step.
      seed: of what is drawn to learn from.
      held_out: rows held out; those of one seed are those of every other.

    Raises:
      ValueError: if there are no tokens or the lengths are no range from 1 on.

    Source: the many modes of Gu et al., arXiv 1711.02281.
    """
    if tokens < 1 or not 1 <= least <= length:
        raise ValueError(
            "tokens must be at least 1 and 1 <= least <= length, got "
            f"{tokens}, {least} and {length}"
        )

    def rows(count: int, generator: np.random.Generator) -> Batch:
        size = generator.integers(least, length + 1, count)
        place = np.arange(length)[None]
        kept = place < size[:, None]
        drawn = generator.integers(1, tokens + 1, (count, length))
        forward = np.where(kept, drawn, 0).astype(np.int32)
        turned = np.where(kept, size[:, None] - 1 - place, place)
        backward = np.take_along_axis(forward, turned, axis=1)
        words = [
            np.where(kept, t + tokens, 0).astype(np.int32) for t in (forward, backward)
        ]
        flip = generator.random(count) < 0.5
        return {
            "inputs": forward,
            "label": np.where(flip[:, None], words[1], words[0]),
            "weight": kept.astype(np.float32),
            "length": size.astype(np.int32),
            "references": np.stack(words, axis=1),
        }

    def source(step: int) -> Batch:
        return rows(batch, np.random.Generator(np.random.Philox(key=[seed, step])))

    apart = np.random.Generator(np.random.Philox(key=[1 << 40, 0]))
    return Translations(2 * tokens + 1, source, [rows(held_out, apart)])
