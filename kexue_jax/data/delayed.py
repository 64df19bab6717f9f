"""A task of memory: repeat the first symbol after many others."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class DelayedSymbol:
    """Sequences whose first symbol is asked for at the end, for several lags at once.

    The symbol is followed by as many others as the lag, of an alphabet of their own.
    Rows of all lags are filled up in front to the same length.

    Attributes:
      lags: L numbers of steps that the symbol must be kept for, each at least 1.
      symbols: C, how many there are to keep; at least 2.
      others: how many there are in between; at least 1.
      batch: B, sequences a step of each lag.
      held_out_rows: sequences held out of each lag.
      seed: of what is drawn.

    Raises:
      ValueError: if a number is out of range.

    >>> data = DelayedSymbol(lags=(1, 2), batch=4)
    >>> data.source(0)["tokens"].shape
    (4, 2, 3)
    """

    lags: Sequence[int] = (10, 20, 50, 100)
    symbols: int = 8
    others: int = 8
    batch: int = 32
    held_out_rows: int = 256
    seed: int = 0

    def __post_init__(self):
        if not self.lags or min(self.lags) < 1 or self.symbols < 2 or self.others < 1:
            raise ValueError(
                "lags and others must be at least 1 and symbols at least 2, got "
                f"{tuple(self.lags)}, {self.others}, {self.symbols}"
            )

    def _rows(self, count: int, generator: np.random.Generator) -> Batch:
        length, shape = max(self.lags) + 1, (count, len(self.lags))
        tokens = self.symbols + generator.integers(0, self.others, (*shape, length))
        label = generator.integers(0, self.symbols, shape)
        first = length - 1 - np.array(self.lags)
        tokens[:, np.arange(len(self.lags)), first] = label
        kept = np.arange(length) >= first[:, None]
        return {
            "tokens": np.where(kept, tokens, 0).astype(np.int32),
            "kept": np.broadcast_to(kept, tokens.shape).copy(),
            "label": label.astype(np.int32),
        }

    def source(self, step: int) -> Batch:
        """Returns ``tokens`` ``[B, L, T]`` int32 below C plus the others.

        ``kept`` ``[B, L, T]`` bool says where the sequence is, ``label`` ``[B, L]``
        int32 is its first symbol.
        """
        key = np.random.Philox(key=[self.seed, step])
        return self._rows(self.batch, np.random.Generator(key))

    @property
    def held_out(self) -> Batch:
        """Sequences like those of `source`, of a key that no step has."""
        key = np.random.Philox(key=[self.seed, 1 << 40])
        return self._rows(self.held_out_rows, np.random.Generator(key))

    def fingerprint(self) -> dict[str, str | list[int]]:
        """Returns the lags and a digest of batch 0 and of what is held out."""
        digest = hashlib.sha256()
        for batch in (self.source(0), self.held_out):
            for key in sorted(batch):
                digest.update(np.ascontiguousarray(batch[key]).tobytes())
        return {"lags": list(self.lags), "sha256": digest.hexdigest()}
