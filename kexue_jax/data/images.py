"""Pictures that every machine has: the digits of scikit-learn, alone and overlaid."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from kexue_jax.data.order import Shuffled


class Pictures(NamedTuple):
    """Grey pictures ``[N, H, W]`` float32 from 0 to 1, and labels ``[N]`` int32."""

    image: np.ndarray
    label: np.ndarray


def _rows(pictures: Pictures, index: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "image": pictures.image[index],
        "label": pictures.label[index],
        "index": index,
    }


def digits(*, train: bool) -> Pictures:
    """Returns scikit-learn's handwritten digits, 8 by 8, in a fixed split.

    Every fifth of the 1,797 is held out: 1,437 to train on and 360 to test.

    Raises:
      ModuleNotFoundError: without scikit-learn.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    chosen = (np.arange(len(found.target)) % 5 != 4) == train
    image = (found.images[chosen] / 16.0).astype(np.float32)
    return Pictures(image, found.target[chosen].astype(np.int32))


@dataclass
class Digits:
    """A source of single digits: ``image`` [B, 8, 8], ``label`` [B], ``index`` [B].

    Args:
      train: the part to draw from.
      batch_size: pictures a step.
      seed: of the order; every epoch is another permutation.
    """

    train: bool = True
    batch_size: int = 100
    seed: int = 0
    pictures: Pictures = field(init=False, repr=False)
    order: Shuffled = field(init=False, repr=False)

    def __post_init__(self):
        self.pictures = digits(train=self.train)
        count = len(self.pictures.label)
        self.order = Shuffled(count, self.batch_size, self.seed)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step."""
        return _rows(self.pictures, self.order.indices(step))


def overlay(first: np.ndarray, second: np.ndarray, canvas: int) -> np.ndarray:
    """Returns pictures with one digit at the top left and one at the bottom right.

    Args:
      first, second: ``[N, H, W]``.
      canvas: side of the square that both are put on; where they overlap, the brighter.
    """
    count, height, width = first.shape
    if canvas < max(height, width):
        raise ValueError(f"canvas must be at least {max(height, width)}, got {canvas}")
    both = np.zeros((2, count, canvas, canvas), first.dtype)
    both[0, :, :height, :width] = first
    both[1, :, -height:, -width:] = second
    return both.max(axis=0)


@dataclass
class DigitPairs:
    """A source of digits overlaid: ``image`` [B, C, C], ``label`` [B, 2], ``index``.

    The pairs are drawn once, `pairs` of them, from the digits of one part.

    Args:
      train: the part to draw from.
      pairs: how many there are.
      canvas: side of the pictures; 8 would hide nothing but overlap all.
      batch_size, seed: as for `Digits`; the pairs depend on `pair_seed` alone.
    """

    train: bool = True
    pairs: int = 4000
    canvas: int = 11
    batch_size: int = 100
    seed: int = 0
    pair_seed: int = 0
    pictures: Pictures = field(init=False, repr=False)
    order: Shuffled = field(init=False, repr=False)

    def __post_init__(self):
        single = digits(train=self.train)
        rng = np.random.default_rng([self.pair_seed, self.train])
        chosen = rng.integers(0, len(single.label), (2, self.pairs))
        image = overlay(*single.image[chosen], self.canvas)
        self.pictures = Pictures(image, single.label[chosen].T)
        self.order = Shuffled(self.pairs, self.batch_size, self.seed)

    def __call__(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batch of a step."""
        return _rows(self.pictures, self.order.indices(step))
