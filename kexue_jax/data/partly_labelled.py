"""Few examples with labels, many without, as consistency training takes them."""

import numpy as np

from kexue_jax.data.drawn import few_digits
from kexue_jax.data.labelled import Batch, Labelled
from kexue_jax.data.order import Shuffled


def partly_labelled_digits(
    *,
    labels: int = 50,
    batch: int = 50,
    unlabelled_batch: int = 200,
    seed: int = 0,
) -> Labelled:
    """Returns 900 handwritten digits of which few have labels, and 897 held out.

    Batches hold ``inputs`` ``[B, 64]`` with ``label``, and ``unlabelled`` ``[U, 64]``,
    drawn from all 900.

    Args:
      labels: how many have one.
      batch: B, examples with a label a step.
      unlabelled_batch: U, examples without a step.
      seed: of which have labels and of the orders.

    Raises:
      ValueError: if a number is out of range.
    """
    if not 0 < unlabelled_batch <= 900:
        raise ValueError(
            f"unlabelled_batch must be from 1 to 900, got {unlabelled_batch}"
        )
    few = few_digits(examples=labels, batch=batch, seed=seed)
    pool = few_digits(examples=900, batch=900, seed=seed).source(0)["inputs"]
    order = Shuffled(len(pool), unlabelled_batch, seed)

    def rows(step: int) -> Batch:
        more = np.asarray(pool[order.indices(step)])
        return few.source(step) | {"unlabelled": more}

    return Labelled(few.classes, rows, few.held_out)
