"""A task of pure reading: find the item with the asked name and repeat it."""

import numpy as np

from kexue_jax.data.prediction import Batch, Prediction


def lookup(
    *,
    names: int = 8,
    contents: int = 8,
    batch: int = 64,
    seed: int = 0,
    held_out: int = 1024,
) -> Prediction:
    """Rows of one item for each name, in random order, and a question at the end.

    An item is a token, name and contents in one; the question is a name and the target
    the item with that name. Where it stands and what it holds are drawn anew in each
    row, so a model must compare what stands there with what is asked.

    Args:
      names, contents: how many there are; at least 1 and 2.
      batch: rows a step.
      seed: of what is drawn to learn from.
      held_out: rows held out, in a set called ``valid``.

    Returns:
      Rows of ``names + 1`` tokens below ``names * contents + names``; the last asks.

    Raises:
      ValueError: if there are too few names or contents.
    """
    if names < 1 or contents < 2:
        raise ValueError(
            f"lookup needs names >= 1, contents >= 2, got {names}, {contents}"
        )

    def rows(count: int, generator: np.random.Generator) -> Batch:
        order = generator.permuted(np.tile(np.arange(names), (count, 1)), axis=1)
        items = order * contents + generator.integers(0, contents, order.shape)
        asked = generator.integers(0, names, count)
        place = np.argmax(order == asked[:, None], axis=1)
        targets = np.zeros((count, names + 1), np.int32)
        targets[:, -1] = items[np.arange(count), place]
        weight = np.zeros((count, names + 1), np.float32)
        weight[:, -1] = 1.0
        question = names * contents + asked[:, None]
        tokens = np.concatenate([items, question], axis=1).astype(np.int32)
        return {"tokens": tokens, "targets": targets, "weight": weight}

    def source(step: int) -> Batch:
        return rows(batch, np.random.Generator(np.random.Philox(key=[seed, step])))

    apart = np.random.Generator(np.random.Philox(key=[seed, 1 << 40]))
    return Prediction(
        names * contents + names, source, {"valid": [rows(held_out, apart)]}
    )
