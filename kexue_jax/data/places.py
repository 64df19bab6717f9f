"""A task of positions alone: say of equal tokens which is the how manieth."""

import numpy as np

from kexue_jax.data.prediction import Batch, Prediction


def places(*, length: int = 16, batch: int = 8) -> Prediction:
    """Rows of zeros, at each place of which the target is the place.

    A model in which positions change weights of attention alone gives every place the
    same scores, as whatever the weights their average of equal values is the same.

    Args:
      length: T, also the number of tokens; at least 2.
      batch: rows a step, all alike.

    Returns:
      Rows to learn from and, in a set called ``valid``, the same row held out.

    Raises:
      ValueError: if `length` is below 2.
    """
    if length < 2:
        raise ValueError(f"places are told apart from length 2 on, got {length}")

    def rows(count: int) -> Batch:
        shape = (count, length)
        return {
            "tokens": np.zeros(shape, np.int32),
            "targets": np.broadcast_to(np.arange(length, dtype=np.int32), shape),
            "weight": np.ones(shape, np.float32),
        }

    return Prediction(length, lambda step: rows(batch), {"valid": [rows(1)]})
