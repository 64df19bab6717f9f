"""Pictures as rows of grey levels, one token a pixel, row after row."""

import io
import math
import os
import pathlib

import numpy as np

from kexue_jax.data import archives, fetch, registry
from kexue_jax.data.labelled import Labelled
from kexue_jax.data.parts import Part, parted
from kexue_jax.data.registry import DataSet

VOCABULARY = 256
NAMES = ("mnist", "cifar10_jpg", "digits")


def read_idx(content: bytes) -> np.ndarray:
    """Returns the array of uint8 of an unpacked idx file, as those of MNIST are.

    Raises:
      ValueError: if the content is cut, too long, or not of bytes.

    >>> read_idx(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9])).tolist()
    [7, 9]
    """
    start = 4 + 4 * content[3] if len(content) > 3 else 4
    if len(content) < start or content[:3] != bytes([0, 0, 8]):
        raise ValueError(
            f"content must begin as an idx file of bytes, got {content[:start]!r}"
        )
    shape = tuple(np.frombuffer(content[4:start], ">i4").tolist())
    if len(content) != start + math.prod(shape):
        raise ValueError(
            f"content must hold {math.prod(shape)} bytes behind its head, for "
            f"{shape}, got {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_jpeg(content: bytes) -> np.ndarray:
    """Returns the grey levels ``[H, W]`` uint8 of a JPEG: 0.299 R + 0.587 G + 0.114 B.

    Raises:
      ModuleNotFoundError: without Pillow, which comes with matplotlib.
      ValueError: if it is no whole JPEG.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as picture:
            return np.asarray(picture.convert("L"))
    except OSError as error:
        raise ValueError(f"content must be a whole JPEG: {error}") from error


def block_means(image: np.ndarray, block: int) -> np.ndarray:
    """Returns means of squares of pixels, rounded, halves upwards.

    Args:
      image: ``[N, H, W]`` uint8.
      block: side of a square; it divides H and W.

    Returns:
      ``[N, H / block, W / block]`` uint8.

    Raises:
      ValueError: if `block` is less than 1 or does not divide the sides.
    """
    count, height, width = image.shape
    if block < 1 or height % block or width % block:
        raise ValueError(
            f"block must be at least 1 and divide {height} and {width}, got {block}"
        )
    if block == 1:
        return image
    squares = image.reshape(count, height // block, block, width // block, block)
    total = squares.sum(axis=(2, 4), dtype=np.uint32)
    return ((total + block**2 // 2) // block**2).astype(np.uint8)


def _mnist(entry: DataSet, path: str | os.PathLike | None) -> list[Part]:
    parts = []
    for name in ("train", "t10k"):
        image, label = (
            read_idx(fetch.read_bytes(entry, f"{name}-{what}-ubyte.gz", path))
            for what in ("images-idx3", "labels-idx1")
        )
        parts.append(Part(image, label))
    return parts


def _cifar10(entry: DataSet, path: str | os.PathLike | None) -> list[Part]:
    parts, classes = [], []
    for file in ("train.tar.xz", "test.tar.xz"):
        where = fetch.locate(entry, path, files=(file,)) / file
        found = [
            (pathlib.PurePosixPath(name).parent.name, read_jpeg(content))
            for name, content in sorted(archives.members(where))
        ]
        classes = classes or sorted({kind for kind, _ in found})
        label = np.array([classes.index(kind) for kind, _ in found])
        parts.append(Part(np.stack([image for _, image in found]), label))
    return parts


def _digits() -> list[Part]:
    from sklearn.datasets import load_digits

    found = load_digits()
    image = np.round(found.images * (255 / 16)).astype(np.uint8)
    apart = np.arange(len(image)) % 5 == 4
    return [Part(image[chosen], found.target[chosen]) for chosen in (~apart, apart)]


def pixels(
    name: str | DataSet = "mnist",
    *,
    block: int = 1,
    batch: int = 32,
    held_out: int | None = None,
    seed: int = 0,
    path: str | os.PathLike | None = None,
) -> Labelled:
    """Returns pictures as rows of grey levels, in the split that the set comes with.

    ``mnist``: 60,000 pictures to learn from and 10,000 held out, 28 by 28: 784 tokens,
    or 196 with `block` 2. ``cifar10_jpg``: 50,000 and 10,000, 32 by 32, made grey:
    1,024 tokens, the Image task of Long Range Arena. These pictures were compressed
    again as small JPEGs, of about 0.9 kB, so that pixels differ from the published
    ones and numbers are near those of the literature at best. ``digits``: those of
    scikit-learn, 8 by 8, every fifth held out; they need no file.

    Args:
      name: one of `NAMES`, or a `DataSet` that has the name of one of the first two
        and files of that form.
      block: side of the squares whose means are the tokens, see `block_means`.
      batch, seed: as in `kexue_jax.data.parts.parted`.
      held_out: how many are held out, at even steps of all of them; None for all.
      path: folder of the files, as in `kexue_jax.data.fetch.locate`.

    Returns:
      Rows ``[B, T]`` int32 of tokens from 0 to 255, of ten classes; none is padding.
      The classes of ``cifar10_jpg`` are numbered by the alphabet.

    Raises:
      ValueError: for another name, or a number out of range.
      DataNotFoundError: if the files are neither here nor to be fetched.
      ModuleNotFoundError: without Pillow (``cifar10_jpg``) or scikit-learn
        (``digits``).

    Source: LeCun et al. 1998; Krizhevsky 2009; the task is that of Tay et al.,
      https://arxiv.org/abs/2011.04006, who hold 5,000 of the 50,000 out for choices.
    """
    kind = name.name if isinstance(name, DataSet) else name
    if kind not in NAMES or (isinstance(name, DataSet) and kind == "digits"):
        raise ValueError(f"name must be one of {NAMES}, got {kind!r}")
    if kind == "digits":
        parts = _digits()
    else:
        entry = name if isinstance(name, DataSet) else registry.load(name)
        parts = (_mnist if kind == "mnist" else _cifar10)(entry, path)
    most = len(parts[1].label)
    count = most if held_out is None else held_out
    if not 1 <= count <= most:
        raise ValueError(f"held_out must be from 1 to {most}, got {held_out}")
    chosen = np.arange(count) * most // count
    train, apart = (
        Part(block_means(image, block).reshape(len(label), -1), label)
        for image, label in (parts[0], Part(*(array[chosen] for array in parts[1])))
    )
    return parted(train, apart, batch=batch, seed=seed)
