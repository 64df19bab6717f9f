"""Task: a classifier of bags of tokens, and how large the rows of its table grow."""

from typing import Any

import numpy as np

from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.tasks.classification import Classification


class RareRows(Classification):
    """A classification by a model with a leaf ``embedding`` ``[V, D]`` in its params.

    Args:
      counted: batches in which it is counted how often a token comes: an epoch, say.
      **options: of `Classification`; inputs are tokens below V, and 0 fills rows up.

    Raises:
      ValueError: if `counted` is below 1.
    """

    def __init__(self, *, counted: int, **options: Any):
        if counted < 1:
            raise ValueError(f"counted must be at least 1, got {counted}")
        super().__init__(**options)
        self.counted = counted

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns the scores of the held-out, and how large the table is.

        ``table/largest`` is the greatest size of an entry, ``table/mean_square_root``
        the root of the mean square of all.
        """
        table = np.asarray(params["embedding"], np.float64)
        return super().evaluate(params, extras) | {
            "table/largest": float(np.abs(table).max()),
            "table/mean_square_root": float(np.sqrt(np.mean(np.square(table)))),
        }

    def sizes(self, params) -> tuple[np.ndarray, np.ndarray]:
        """Returns of tokens 1, 2, ... how often they come and how large their rows are.

        Returns:
          ``[V - 1]`` counts, and the root mean squares of rows.
        """
        table = np.asarray(params["embedding"], np.float64)
        count = np.zeros(len(table), np.int64)
        for step in range(self.counted):
            tokens = self.batch(step)["inputs"].ravel()
            count += np.bincount(tokens, minlength=len(table))
        return count[1:], np.sqrt(np.mean(np.square(table), axis=1))[1:]

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns those of a classification, after the size of rows by their count."""
        count, size = self.sizes(params)
        bins = np.where(count > 0, np.log2(np.maximum(count, 1)).astype(int), -1)
        places = np.unique(bins[bins >= 0])
        groups = [size[bins == place] for place in places]
        line = Series(
            "median, and most of them",
            np.exp2(places + 0.5),
            *(
                np.array([np.quantile(group, q) for group in groups])
                for q in (0.5, 0.05, 0.95)
            ),
        )
        shown = Curves(
            "Size of a row by how often it is seen",
            [line],
            f"times seen in {self.counted} batches",
            "root mean square of the row",
            log_x=True,
            log_y=True,
        )
        return [shown, *super().exhibits(params, extras)]
