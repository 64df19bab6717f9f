"""Small tables with every row held out once, for models trained side by side."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from kexue_jax.data.order import Shuffled

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Folds:
    """A table for K models, of which each has rows of its own held out.

    The table is shuffled and cut into folds anew for each repeat; model k belongs to
    fold ``k % folds`` of repeat ``k // folds``, learns from the other folds and is
    asked about its own. So the models of one repeat are asked about every row once.
    Columns are scaled to mean 0 and deviation 1 by the rows that a model learns from;
    those that never change there are 0.

    Attributes:
      rows: ``[N, D]`` float.
      label: ``[N]`` integers from 0 on.
      batch: B, rows a step for each model.
      folds: at least 2.
      repeats: K is `folds` times `repeats`.
      seed: of the folds and of the order of training.

    Raises:
      ValueError: if there are too few folds, repeats or rows, or the lengths differ.
    """

    rows: np.ndarray
    label: np.ndarray
    batch: int
    folds: int = 5
    repeats: int = 2
    seed: int = 0
    _train: list = field(init=False, repr=False)
    _valid: list = field(init=False, repr=False)
    _scaled: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        if self.folds < 2 or self.repeats < 1 or len(self.rows) < self.folds:
            raise ValueError(
                "folds must be from 2 to the rows, and repeats at least 1; got "
                f"{self.folds} and {self.repeats} of {len(self.rows)} rows"
            )
        if len(self.rows) != len(self.label):
            raise ValueError(
                f"rows and label must be as many, got {len(self.rows)} and "
                f"{len(self.label)}"
            )
        train, valid, scaled = [], [], []
        for repeat in range(self.repeats):
            draws = np.random.Generator(np.random.Philox(key=[self.seed, repeat]))
            place = draws.permutation(len(self.rows)) % self.folds
            for fold in range(self.folds):
                own = np.flatnonzero(place != fold)
                rows = self.rows - self.rows[own].mean(axis=0)
                spread = self.rows[own].std(axis=0)
                rows = np.where(spread > 0, rows / np.where(spread > 0, spread, 1), 0.0)
                order = Shuffled(len(own), self.batch, self.seed + len(train))
                train.append((own, order))
                valid.append(np.flatnonzero(place == fold))
                scaled.append(rows.astype(np.float32))
        object.__setattr__(self, "_train", train)
        object.__setattr__(self, "_valid", valid)
        object.__setattr__(self, "_scaled", np.stack(scaled))

    @property
    def classes(self) -> int:
        """C; labels are below it."""
        return int(self.label.max()) + 1

    @property
    def copies(self) -> int:
        """K, how many models there are."""
        return self.folds * self.repeats

    def _taken(self, index: np.ndarray) -> Batch:
        """The rows ``[B, K]`` of an index for each model."""
        return {
            "inputs": self._scaled[np.arange(self.copies), index],
            "label": self.label[index].astype(np.int32),
        }

    def source(self, step: int) -> Batch:
        """Returns ``inputs`` ``[B, K, D]`` float32 and ``label`` ``[B, K]`` int32."""
        index = [own[order.indices(step)] for own, order in self._train]
        return self._taken(np.stack(index, axis=1))

    @property
    def held_out(self) -> list[Batch]:
        """One batch with ``weight`` ``[M, K]``, 0 for rows that fill a fold up."""
        most = max(len(rows) for rows in self._valid)
        index = [np.pad(rows, (0, most - len(rows))) for rows in self._valid]
        sizes = np.array([len(rows) for rows in self._valid])
        weight = np.arange(most)[:, None] < sizes[None, :]
        taken = self._taken(np.stack(index, axis=1))
        return [taken | {"weight": weight.astype(np.float32)}]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns the classes, the copies and a digest of all rows and batch 0."""
        digest = hashlib.sha256()
        for batch in (self.source(0), *self.held_out):
            for key in sorted(batch):
                digest.update(np.ascontiguousarray(batch[key]).tobytes())
        return {
            "classes": self.classes,
            "copies": self.copies,
            "sha256": digest.hexdigest(),
        }


def folded_table(
    name: str, *, batch: int, folds: int = 5, repeats: int = 2, seed: int = 0
) -> Folds:
    """Returns a table of scikit-learn in `Folds`.

    Args:
      name: ``digits`` (1,797 rows, 64 columns, 10 classes), ``wine`` (178, 13, 3) or
        ``breast_cancer`` (569, 30, 2).
      batch, folds, repeats, seed: as in `Folds`.

    Raises:
      ValueError: for another name.
    """
    from sklearn import datasets

    known = ("digits", "wine", "breast_cancer")
    if name not in known:
        raise ValueError(f"name must be one of {known}, got {name!r}")
    found = getattr(datasets, f"load_{name}")()
    return Folds(found.data, found.target, batch, folds, repeats, seed)
