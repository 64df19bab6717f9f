"""Tables of scikit-learn as a whole, and with few rows of one class."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kexue_jax.data.labelled import Batch, Labelled
from kexue_jax.data.order import Shuffled


@dataclass(frozen=True)
class LabelledRows:
    """All rows of a table: ``inputs`` ``[N, D]`` float32, ``label`` ``[N]`` int32."""

    inputs: np.ndarray
    label: np.ndarray
    classes: int

    def fingerprint(self) -> dict[str, str | int]:
        """Returns how many rows and classes there are, and a digest."""
        digest = hashlib.sha256(self.inputs.tobytes() + self.label.tobytes())
        rows = {"rows": len(self.label), "classes": self.classes}
        return rows | {"rows_sha256": digest.hexdigest()}


def iris() -> LabelledRows:
    """Returns 150 flowers of 3 kinds, 4 columns of mean 0 and deviation 1."""
    from sklearn.datasets import load_iris

    found = load_iris()
    scaled = (found.data - found.data.mean(axis=0)) / found.data.std(axis=0)
    return LabelledRows(scaled.astype(np.float32), found.target.astype(np.int32), 3)


def few_positives(
    *,
    columns: Sequence[str],
    positives: int = 30,
    negatives: int = 180,
    batch: int = 210,
    seed: int = 0,
) -> Labelled:
    """Returns tumours of the breast, of which few to learn from are malignant.

    All others are held out, the malignant ones with a weight with which they are as
    rare as in training.

    Args:
      columns: which to look at, by their names in scikit-learn, such as
        ``mean texture``; scaled by what there is to learn from.
      positives, negatives: how many malignant (label 1) and benign ones to learn from,
        at most 211 and 356.
      batch: examples a step.
      seed: of which are taken and of the order.

    Raises:
      ValueError: if there are not as many, or there is no such column.
    """
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    names = list(found.feature_names)
    unknown = [name for name in columns if name not in names]
    if unknown or not columns:
        raise ValueError(f"columns must be some of {names}, got {tuple(columns)}")
    rows = found.data[:, [names.index(name) for name in columns]]
    label = 1 - found.target  # there 0 is malignant
    counts = positives, negatives
    if min(counts) < 1 or positives > 211 or negatives > 356:
        raise ValueError(f"there are 212 positives and 357 negatives, not {counts}")
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(label))
    rows, label = rows[order], label[order].astype(np.int32)
    bad, good = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    train = np.concatenate([bad[:positives], good[:negatives]])
    test = np.concatenate([bad[positives:], good[negatives:]])
    scaled = (rows - rows[train].mean(axis=0)) / rows[train].std(axis=0)
    scaled = scaled.astype(np.float32)
    rare = positives / negatives * (len(good) - negatives) / (len(bad) - positives)
    held_out: Batch = {
        "inputs": scaled[test],
        "label": label[test],
        "weight": np.where(label[test] == 1, rare, 1.0).astype(np.float32),
    }
    epochs = Shuffled(len(train), batch, seed)

    def source(step: int) -> Batch:
        index = train[epochs.indices(step)]
        return {"inputs": scaled[index], "label": label[index]}

    return Labelled(2, source, [held_out])
