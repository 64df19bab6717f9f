"""Rows with one label each, that every machine has: scikit-learn's small sets."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from kexue_jax.data.order import Shuffled

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Labelled:
    """Examples to learn from and held out.

    Batches hold ``inputs`` ``[B, ...]`` and ``label`` ``[B]`` int32; those held out
    also ``weight`` ``[B]`` float32, 0 for rows that only fill up a batch.

    Attributes:
      classes: C, labels are below it.
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


def labelled(
    inputs: np.ndarray, label: np.ndarray, *, batch: int, held_out: int, seed: int
) -> Labelled:
    """Holds every so-many-th example out and shuffles the others.

    Args:
      inputs: ``[N, ...]``.
      label: ``[N]`` integers from 0 on.
      batch: examples a step.
      held_out: every example whose number leaves `held_out` - 1 when divided by it.
      seed: of the order of training.

    Raises:
      ValueError: if `held_out` is less than 2, or the lengths differ.
    """
    if held_out < 2 or len(inputs) != len(label):
        raise ValueError(
            f"held_out must be at least 2, got {held_out}; inputs and label must be as "
            f"many, got {len(inputs)} and {len(label)}"
        )
    apart = np.arange(len(label)) % held_out == held_out - 1
    train = np.flatnonzero(~apart)
    order = Shuffled(len(train), batch, seed)

    def rows(index: np.ndarray) -> Batch:
        return {"inputs": inputs[index], "label": label[index].astype(np.int32)}

    valid = np.flatnonzero(apart)
    filled = np.pad(valid, (0, -len(valid) % batch))
    weight = (np.arange(len(filled)) < len(valid)).astype(np.float32)
    parts = range(0, len(filled), batch)
    return Labelled(
        int(label.max()) + 1,
        lambda step: rows(train[order.indices(step)]),
        [
            rows(filled[first : first + batch])
            | {"weight": weight[first : first + batch]}
            for first in parts
        ],
    )


def digit_pixels(*, batch: int = 100, seed: int = 0, held_out: int = 5) -> Labelled:
    """Returns handwritten digits as rows of 64 grey levels, tokens from 0 to 16."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = found.images.reshape(len(found.target), 64).astype(np.int32)
    return labelled(pixels, found.target, batch=batch, held_out=held_out, seed=seed)


def table(name: str, *, batch: int = 100, seed: int = 0, held_out: int = 5) -> Labelled:
    """Returns a table of scikit-learn, each column of mean 0 and deviation 1.

    Args:
      name: ``digits`` (64 columns, 10 classes), ``wine`` (13, 3) or ``breast_cancer``
        (30, 2).
      batch, seed, held_out: as in `labelled`. Means and deviations are those of the
        rows to learn from; columns that never change are 0.

    Raises:
      ValueError: for another name.
    """
    from sklearn import datasets

    known = ("digits", "wine", "breast_cancer")
    if name not in known:
        raise ValueError(f"name must be one of {known}, got {name!r}")
    found = getattr(datasets, f"load_{name}")()
    order = np.random.Generator(np.random.Philox(0)).permutation(len(found.target))
    rows, label = found.data[order], found.target[order]
    train = np.arange(len(label)) % held_out != held_out - 1
    spread = rows[train].std(axis=0)
    scaled = (rows - rows[train].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    scaled = np.where(spread > 0, scaled, 0.0).astype(np.float32)
    return labelled(scaled, label, batch=batch, held_out=held_out, seed=seed)
