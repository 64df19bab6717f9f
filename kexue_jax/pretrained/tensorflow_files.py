"""Checkpoints of TensorFlow, read without TensorFlow.

``NAME.index`` is a sorted table (of LevelDB) from names to where their arrays stand in
``NAME.data-00000-of-00001``, with a checksum of each.
"""

import math
import os
import struct
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from kexue_jax.pretrained.files import WeightsError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_DTYPES: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    4: np.uint8,
    5: np.int16,
    6: np.int8,
    9: np.int64,
    10: np.bool_,
    14: ml_dtypes.bfloat16,
    17: np.uint16,
    19: np.float16,
    22: np.uint32,
    23: np.uint64,
}
_STRING = 7


def _masked_crc(content: bytes) -> int:
    try:
        import google_crc32c
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "google-crc32c, which checks checkpoints of TensorFlow, is not installed: "
            "install kexue-jax[encoders]",
            name="google_crc32c",
        ) from error
    crc = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise WeightsError("a number has more than ten bytes")


def _block(table: bytes, offset: int, size: int) -> bytes:
    whole = table[offset : offset + size + 5]
    if len(whole) != size + 5:
        raise WeightsError("a block reaches beyond the end")
    if struct.unpack("<I", whole[-4:])[0] != _masked_crc(whole[:-4]):
        raise WeightsError("a block has another checksum")
    if whole[size] != 0:
        raise WeightsError("a block is compressed, as TensorFlow never does")
    return whole[:size]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block, whose keys share beginnings with those before."""
    restarts = struct.unpack("<I", block[-4:])[0]
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise WeightsError("a block has more restarts than bytes")
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or at + fresh + size > end:
            raise WeightsError("an entry reaches beyond its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + size]
        at += fresh + size


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and values of a message of protocol buffers."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
        elif tag & 7 == 2:
            size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        elif tag & 7 == 5:
            value, at = struct.unpack("<I", message[at : at + 4])[0], at + 4
        elif tag & 7 == 1:
            value, at = struct.unpack("<Q", message[at : at + 8])[0], at + 8
        else:
            raise WeightsError(f"a field has the unknown wire type {tag & 7}")
        if at > len(message):
            raise WeightsError("a field reaches beyond its message")
        yield tag >> 3, value


def _table(path: str) -> Iterator[tuple[bytes, bytes]]:
    with open(path, "rb") as file:
        table = file.read()
    if len(table) < _FOOTER or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise WeightsError("it does not end as an index does")
    footer, at = table[-_FOOTER:], 0
    for _ in range(2):  # where other blocks are is of no interest
        _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, at = _varint(footer, at)
    for _, handle in _entries(_block(table, offset, size)):
        begin, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        yield from _entries(_block(table, begin, length))


def _entry(message: bytes) -> dict[str, Any]:
    found: dict[str, Any] = dict(dtype=0, shape=[], shard=0, offset=0, size=0, crc=0)
    names = {1: "dtype", 3: "shard", 4: "offset", 5: "size", 6: "crc"}
    for number, value in _fields(message):
        if number == 2:
            for inner, dim in _fields(value):
                if inner == 2:
                    sizes = dict(_fields(dim))
                    found["shape"].append(sizes.get(1, 0))
        elif number == 7:
            raise WeightsError("is in slices; save it whole")
        elif number in names:
            found[names[number]] = value
    return found


def _array(name: str, entry: dict[str, Any], shards: list[str]) -> np.ndarray:
    dtype, shape = _DTYPES.get(entry["dtype"]), tuple(entry["shape"])
    if dtype is None:
        raise WeightsError(f"{name!r} has the unknown dtype {entry['dtype']}")
    dtype = np.dtype(dtype)
    if entry["size"] != math.prod(shape) * dtype.itemsize:
        raise WeightsError(
            f"{name!r} of shape {shape} has {entry['size']} bytes of {dtype}"
        )
    if not 0 <= entry["shard"] < len(shards):
        raise WeightsError(f"{name!r} is in part {entry['shard']} of {len(shards)}")
    with open(shards[entry["shard"]], "rb") as file:
        file.seek(entry["offset"])
        content = file.read(entry["size"])
    if len(content) != entry["size"]:
        raise WeightsError(f"{name!r} reaches beyond the end of the data")
    if _masked_crc(content) != entry["crc"]:
        raise WeightsError(f"{name!r} has another checksum than its numbers")
    return np.frombuffer(content, dtype).reshape(shape)


def read_tensorflow(prefix: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns every array of a TensorFlow checkpoint by its name.

    Texts, such as the graph of objects, are left out. Every checksum is compared.

    Args:
      prefix: path of the files without ``.index`` or ``.data-00000-of-00001``; the
        path of the index will do too.

    Raises:
      WeightsError: if a file is damaged or cut short.
      FileNotFoundError: if one is absent.
      ModuleNotFoundError: if the package google-crc32c is not installed.
    """
    prefix = os.fspath(prefix).removesuffix(".index")
    index = f"{prefix}.index"
    if not os.path.isfile(index):
        raise FileNotFoundError(f"there is no index of a checkpoint at {index!r}")
    try:
        entries = dict(_table(index))
        header = dict(_fields(entries.pop(b"", b"")))
        count = header.get(1, 0)
        if not 1 <= count <= 9999 or header.get(2, 0) != 0:
            raise WeightsError(f"is of {count} parts, or not little-endian")
        shards = [f"{prefix}.data-{k:05}-of-{count:05}" for k in range(count)]
        for shard in shards:
            if not os.path.isfile(shard):
                raise FileNotFoundError(f"there is no {shard!r}")
        found = {}
        for key, message in entries.items():
            name, entry = key.decode(), _entry(message)
            if entry["dtype"] != _STRING:
                found[name] = _array(name, entry, shards)
    except WeightsError as error:
        raise WeightsError(f"{index}: {error}") from error
    except (IndexError, OverflowError, ValueError, struct.error) as error:
        raise WeightsError(f"{index} is no whole index: {error}") from error
    return found
