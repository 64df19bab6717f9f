"""A task of pure reading: find the item with the asked key and repeat it."""

import numpy as np

from kexue_jax.data.prediction import Batch, Prediction


def lookup(
    *,
    keys: int = 8,
    values: int = 8,
    batch: int = 64,
    seed: int = 0,
    held_out: int = 1024,
) -> Prediction:
    """Rows of one item for each key, in random order, and a question at the end.

    An item is a token, key and value in one; the question names a key, and the target
    is the item with that key. Where it stands and what it holds are drawn anew in each
    row, so a model must compare what stands there with what is asked.

    Args:
      keys, values: how many there are; at least 1 and 2.
      batch: rows a step.
      seed: of what is drawn to learn from.
      held_out: rows held out, in a set called ``valid``.

    Returns:
      Rows of ``keys + 1`` tokens below ``keys * values + keys``, the last asked for.

    Raises:
      ValueError: if there are too few keys or values.
    """
    if keys < 1 or values < 2:
        raise ValueError(f"lookup needs keys >= 1, values >= 2, got {keys}, {values}")

    def rows(count: int, generator: np.random.Generator) -> Batch:
        order = generator.permuted(np.tile(np.arange(keys), (count, 1)), axis=1)
        items = order * values + generator.integers(0, values, order.shape)
        asked = generator.integers(0, keys, count)
        place = np.argmax(order == asked[:, None], axis=1)
        targets = np.zeros((count, keys + 1), np.int32)
        targets[:, -1] = items[np.arange(count), place]
        weight = np.zeros((count, keys + 1), np.float32)
        weight[:, -1] = 1.0
        question = keys * values + asked[:, None]
        tokens = np.concatenate([items, question], axis=1).astype(np.int32)
        return {"tokens": tokens, "targets": targets, "weight": weight}

    def source(step: int) -> Batch:
        return rows(batch, np.random.Generator(np.random.Philox(key=[seed, step])))

    apart = np.random.Generator(np.random.Philox(key=[seed, 1 << 40]))
    return Prediction(keys * values + keys, source, {"valid": [rows(held_out, apart)]})
