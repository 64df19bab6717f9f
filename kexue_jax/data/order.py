"""The order of examples: a pure function of the seed and the step."""

import operator
from dataclasses import dataclass, field

import numpy as np

_ROUNDS = 4  # of the block cipher behind the permutation; the least that grain takes
_SMALL = 1 << 12  # below, one sort is faster than the cipher, whose block is 16 bits


def _integer(name, value, least):
    """Returns `value` as an int, or refuses it."""
    if isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    value = operator.index(value)
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def _sorted(examples, seed, epoch):
    """The whole permutation of one epoch of one seed, by sorting."""
    draws = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    return np.argsort(draws.random_raw(examples), kind="stable")


def _walked(entries, examples, seed, epoch):
    """Looks `entries` up in the permutation of one epoch of one seed, by a cipher."""
    draws = np.random.SeedSequence((seed, epoch))
    from grain.experimental import index_shuffle

    key = int(draws.generate_state(1)[0])
    return [
        index_shuffle(entry, max_index=examples - 1, seed=key, rounds=_ROUNDS)
        for entry in entries
    ]


@dataclass(frozen=True)
class Shuffled:
    r"""Batches of indices in which every epoch is a permutation of all examples.

    Position :math:`p = \mathrm{step} \cdot \mathrm{batch\_size} + i` holds entry
    :math:`p \bmod n` of the permutation of epoch :math:`\lfloor p / n \rfloor`, which
    has a key of its own. Nothing need be stored: any step is reached in the time of one
    batch, and a run that starts again at a step sees what it would have seen. Batches
    run across the borders of epochs, so no example is dropped and none repeated early.

    Args:
      examples: int, n, at least 1.
      batch_size: int, at least 1; may exceed `examples`.
      seed: int, at least 0; two seeds give unrelated orders.

    Raises:
      ValueError: if an argument is no integer or too small.

    Numerics: above 4,096 examples a permutation is grain's block cipher, which walks on
      until it falls below n, in no memory at all; up to there the cipher would walk for
      milliseconds, and the permutation sorts n draws of 64 bits instead.

    >>> order = Shuffled(examples=5, batch_size=2, seed=0)
    >>> sorted(int(i) for step in range(5) for i in order.indices(step))
    [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    """

    examples: int
    batch_size: int
    seed: int = 0
    _kept: list = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self):
        for name, least in (("examples", 1), ("batch_size", 1), ("seed", 0)):
            object.__setattr__(self, name, _integer(name, getattr(self, name), least))

    def indices(self, step: int) -> np.ndarray:
        """Returns the examples of one batch.

        Args:
          step: int, at least 0.

        Returns:
          int64 ``[batch_size]``, each in ``[0, examples)``.

        Raises:
          ValueError: if `step` is no integer or negative.
        """
        first = _integer("step", step, 0) * self.batch_size
        batch = np.empty(self.batch_size, np.int64)
        done = 0
        while done < self.batch_size:
            epoch, entry = divmod(first + done, self.examples)
            count = min(self.batch_size - done, self.examples - entry)
            batch[done : done + count] = self._entries(epoch, entry, entry + count)
            done += count
        return batch

    def _entries(self, epoch, first, last):
        """A run of the permutation of an epoch; a sorted one is kept for the next."""
        if self.examples > _SMALL:
            return _walked(range(first, last), self.examples, self.seed, epoch)
        for kept, order in self._kept:
            if kept == epoch:
                return order[first:last]
        order = _sorted(self.examples, self.seed, epoch)
        self._kept[:] = [(epoch, order)]
        return order[first:last]
