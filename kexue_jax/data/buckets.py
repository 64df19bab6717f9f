"""Examples of different sizes in batches of few shapes, so that little is compiled."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Example = Mapping[str, np.ndarray]
Batch = dict[str, np.ndarray]
LENGTHS = (32, 64, 128, 256, 512)


class Axes(NamedTuple):
    """How an array of an example grows.

    Attributes:
      sizes: of each axis ``T``, the length of the text, ``K``, a number that differs
        from example to example, or None, one that all have.
      fill: what stands behind the end.
    """

    sizes: tuple[str | None, ...]
    fill: float = 0


def _power(count: int, least: int) -> int:
    return max(least, 1 << max(0, count - 1).bit_length())


@dataclass(frozen=True)
class Bucketed:
    """A source: examples of about one length, padded to the first length with room.

    Every epoch is a permutation of all examples. It is cut into pools of some batches;
    within a pool examples are put in order of their lengths, cut into batches and these
    shuffled. So a batch is a function of the seed and of its step alone.

    A batch holds each array of its examples as rows, those that fill it up last;
    ``kept`` bool ``[B, T]``, where a text has tokens; ``example`` int32 ``[B]``, which
    examples they are; and ``weight`` float32 ``[B]``, 0 for rows that only fill up the
    last batch of an epoch.

    Attributes:
      examples: dicts of arrays, all with ``tokens`` ``[T]``.
      axes: for each array, how it grows, as the arguments of `Axes`; others are not
        looked at.
      batch: B.
      lengths: what T may be.
      seed: of the order.
      pool: how many batches are put in order together.
      least: the smallest K; each is a power of two.

    Raises:
      ValueError: if there are no examples, one is longer than all lengths, or an array
        has no axes.
    """

    examples: Sequence[Example]
    axes: Mapping[str, Axes | tuple]
    batch: int = 16
    lengths: Sequence[int] = LENGTHS
    seed: int = 0
    pool: int = 50
    least: int = 4
    _sizes: np.ndarray = field(init=False, repr=False, compare=False)
    _axes: dict[str, Axes] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        if not self.examples:
            raise ValueError("examples must be at least one, got none")
        if self.batch < 1 or self.pool < 1:
            raise ValueError(
                f"batch and pool must be at least 1, got {self.batch} and {self.pool}"
            )
        lacking = set(self.examples[0]) - set(self.axes)
        if lacking:
            raise ValueError(f"axes must name all arrays, got none for {lacking}")
        sizes = np.array([len(example["tokens"]) for example in self.examples], int)
        if sizes.max() > max(self.lengths):
            raise ValueError(
                f"lengths must reach {sizes.max()}, the longest text, got "
                f"{tuple(self.lengths)}"
            )
        object.__setattr__(self, "_sizes", sizes)
        axes = {name: Axes(*self.axes[name]) for name in self.examples[0]}
        object.__setattr__(self, "_axes", axes)

    @property
    def steps(self) -> int:
        """How many batches an epoch has."""
        return -(-len(self.examples) // self.batch)

    def _order(self, epoch: int) -> np.ndarray:
        """Which examples each batch of an epoch holds, ``[steps, B]``; -1 for none."""
        draws = np.random.default_rng(np.random.SeedSequence((self.seed, epoch)))
        order = draws.permutation(len(self.examples))
        whole, size = [], self.batch * self.pool
        for at in range(0, len(order), size):
            part = order[at : at + size]
            part = part[np.argsort(self._sizes[part], kind="stable")]
            part = np.concatenate([part, np.full(-len(part) % self.batch, -1)])
            rows = part.reshape(-1, self.batch)
            whole.append(rows[draws.permutation(len(rows))])
        return np.concatenate(whole)

    def __call__(self, step: int) -> Batch:
        """Returns the batch of a step."""
        epoch, place = divmod(step, self.steps)
        return self.padded(self._order(epoch)[place])

    def padded(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """Returns examples as one batch; -1 is a row that has the weight 0."""
        rows = np.asarray(rows, int)
        kept = [self.examples[row] for row in rows]
        longest = int(self._sizes[rows[rows >= 0]].max(initial=1))
        length = next(size for size in sorted(self.lengths) if size >= longest)
        found: Batch = {
            name: self._stacked([example[name] for example in kept], axes, length)
            for name, axes in self._axes.items()
        }
        for name, axes in self._axes.items():
            found[name][rows < 0] = axes.fill  # instead of the last example, -1
        sizes = np.where(rows < 0, 0, self._sizes[rows])
        found["kept"] = np.arange(length) < sizes[:, None]
        found["example"] = rows.astype(np.int32)
        found["weight"] = (rows >= 0).astype(np.float32)
        return found

    def _stacked(self, arrays, axes, length):
        shape = [len(arrays)]
        for axis, kind in enumerate(axes.sizes):
            most = max(array.shape[axis] for array in arrays)
            grown = {"T": length, "K": _power(most, self.least)}
            shape.append(most if kind is None else grown[kind])
        made = np.full(shape, axes.fill, arrays[0].dtype)
        for row, array in enumerate(arrays):
            made[(row, *(slice(size) for size in array.shape))] = array
        return made

    def all_batches(self) -> Iterator[Batch]:
        """Yields every example once, those of one length together."""
        order = np.argsort(self._sizes, kind="stable")
        order = np.concatenate([order, np.full(-len(order) % self.batch, -1)])
        for rows in order.reshape(-1, self.batch):
            yield self.padded(rows)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all examples."""
        digest = hashlib.sha256()
        for example in self.examples:
            for name in sorted(example):
                array = np.ascontiguousarray(example[name])
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()
