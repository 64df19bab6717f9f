"""Rows with one label each that come in two parts: to learn from, and to hold out."""

from typing import NamedTuple

import numpy as np

from kexue_jax.data.labelled import Batch, Labelled
from kexue_jax.data.order import Shuffled


class Part(NamedTuple):
    """Rows ``[N, ...]`` of integers or floats, and labels ``[N]`` from 0 on."""

    inputs: np.ndarray
    label: np.ndarray


def parted(train: Part, held_out: Part, *, batch: int, seed: int) -> Labelled:
    """Shuffles the one part and holds the other out, in its order.

    Where `kexue_jax.data.labelled.labelled` divides one set of rows, here the set comes
    divided. Rows may be of a small type, such as uint8: those of a batch are widened.

    Args:
      train, held_out: the parts, with rows of one shape.
      batch: examples a step, at least 1.
      seed: of the order of training.

    Returns:
      Batches with ``inputs`` ``[B, ...]``, int32 for integers and float32 for floats.

    Raises:
      ValueError: if `batch` is less than 1, a part is empty or has not one label for
        each row, the rows differ in shape, or a label is negative.
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    for name, part in (("train", train), ("held_out", held_out)):
        if not len(part.label) or len(part.inputs) != len(part.label):
            raise ValueError(
                f"{name} must have at least one row and a label for each, got "
                f"{len(part.inputs)} rows and {len(part.label)} labels"
            )
        if np.min(part.label) < 0:
            raise ValueError(
                f"labels of {name} must not be negative, got {np.min(part.label)}"
            )
    if train.inputs.shape[1:] != held_out.inputs.shape[1:]:
        raise ValueError(
            "rows of train and held_out must have one shape, got "
            f"{train.inputs.shape[1:]} and {held_out.inputs.shape[1:]}"
        )
    order = Shuffled(len(train.label), batch, seed)
    filled = np.pad(np.arange(len(held_out.label)), (0, -len(held_out.label) % batch))
    weight = (np.arange(len(filled)) < len(held_out.label)).astype(np.float32)
    return Labelled(
        int(max(train.label.max(), held_out.label.max())) + 1,
        lambda step: _rows(train, order.indices(step)),
        [
            _rows(held_out, filled[first : first + batch])
            | {"weight": weight[first : first + batch]}
            for first in range(0, len(filled), batch)
        ],
    )


def _rows(part: Part, index: np.ndarray) -> Batch:
    inputs = part.inputs[index]
    kind = np.int32 if np.issubdtype(inputs.dtype, np.integer) else np.float32
    return {
        "inputs": inputs.astype(kind),
        "label": part.label[index].astype(np.int32),
    }
