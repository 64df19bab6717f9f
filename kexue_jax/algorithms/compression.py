"""How far general compressors get with a text, alone or after another one."""

import gzip
import lzma
from collections.abc import Callable


def gzip_size(text: bytes) -> int:
    """Returns the bytes of a text under gzip at its best level."""
    return len(gzip.compress(text, compresslevel=9, mtime=0))


def xz_size(text: bytes) -> int:
    """Returns the bytes of a text under xz at its best level."""
    return len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def bits_per_byte(
    size: Callable[[bytes], int], text: bytes, before: bytes = b""
) -> float:
    r"""Bits that a compressor needs for a byte of a text once it has read another.

    .. math:: 8\,\frac{|C(\mathrm{before} + \mathrm{text})| - |C(\mathrm{before})|}
              {|\mathrm{text}|}

    Args:
      size: `gzip_size` or `xz_size`.
      text: at least one byte.
      before: what primes the compressor; empty measures the text alone, with the
        header of the format.

    Raises:
      ValueError: if `text` is empty.
    """
    if not text:
        raise ValueError("there are no bits per byte of an empty text")
    alone = size(before) if before else 0
    return 8.0 * (size(before + text) - alone) / len(text)
