"""Files that torch writes, read without torch: tensors, and nothing that runs."""

import collections
import io
import math
import os
import pickle
import zipfile
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from kexue_jax.pretrained.files import WeightsError

_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_FAULTS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    RuntimeError,  # an encrypted zip
    TypeError,
    ValueError,
)


class _Storage(NamedTuple):
    """What a tensor is a view of: its place in the file, and how to read it."""

    key: str
    dtype: Any
    count: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Dict(collections.OrderedDict):
    """A state dict; what hangs on it beside its entries is left out."""

    def __setstate__(self, state):
        del state  # versions of modules


class _Function:
    """Stands for a function of torch, and cannot be changed by the file."""

    __slots__ = ("call",)

    def __init__(self, call):
        self.call = call

    def __call__(self, *arguments):
        return self.call(*arguments)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("a function has a state")


def _rebuilt(storage, offset, shape, strides, *rest):
    del rest  # whether it has a gradient, and hooks
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor is of no storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor, *rest):
    del rest  # as above
    return tensor


_KNOWN = {
    ("collections", "OrderedDict"): _Dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuilt),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
    **{("torch", name): name for name in _DTYPES},
}


class _Unpickler(pickle.Unpickler):
    """Knows tensors and dicts, and refuses every other name."""

    def find_class(self, module, name):
        found = _KNOWN.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(
                f"the file asks for {module}.{name}, which is no tensor"
            )
        return found

    def persistent_load(self, pid):
        kind, name, key, _, count, *view = pid
        if kind != "storage" or name not in _DTYPES or any(view):
            raise pickle.UnpicklingError(f"unknown storage {name!r:.40}")
        if not isinstance(key, str) or type(count) is not int or count < 0:
            raise pickle.UnpicklingError(
                f"storage {key!r:.40} of {count!r:.40} numbers"
            )
        return _Storage(key, np.dtype(_DTYPES[name]), count)


def _view(tensor: _Tensor, data: np.ndarray) -> np.ndarray:
    """A copy of what a tensor shows of its storage, never reaching out of it."""
    offset, shape, strides = tensor.offset, tensor.shape, tensor.strides
    numbers = (offset, *shape, *strides)
    if any(type(n) is not int or n < 0 for n in numbers) or len(shape) != len(strides):
        raise WeightsError(f"a tensor has the shape {shape} and strides {strides}")
    if math.prod(shape) > len(data):
        raise WeightsError(f"a tensor of shape {shape} is of {len(data)} numbers")
    if math.prod(shape) == 0:
        return np.zeros(shape, data.dtype)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if last >= len(data):
        raise WeightsError(f"a tensor reaches number {last} of {len(data)}")
    steps = [step * data.itemsize for step in strides]
    return np.lib.stride_tricks.as_strided(data[offset:], shape, steps).copy()


def _numbers(content: bytes, storage: _Storage) -> np.ndarray:
    wanted = storage.count * storage.dtype.itemsize
    if len(content) != wanted:
        raise WeightsError(
            f"storage {storage.key} must have {wanted} bytes, got {len(content)}"
        )
    return np.frombuffer(content, storage.dtype)


def _named(found: Any, path: str) -> dict[str, _Tensor]:
    if not isinstance(found, dict):
        raise WeightsError(f"{path} must hold a dict of tensors, got {type(found)}")
    inner = found.get("state_dict")
    tensors = inner if isinstance(inner, dict) else found
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise WeightsError(
                f"{path} must hold tensors by their names, got {type(tensor)} at "
                f"{name!r:.80}"
            )
    return tensors


def _from_zip(path: str) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(path) as archive:
        pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(f"{path} must hold one data.pkl, got {len(pickles)}")
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise WeightsError(f"{path} must be little-endian")
        content = archive.read(pickles[0])
        tensors = _named(_Unpickler(io.BytesIO(content)).load(), path)
        whole: dict[str, np.ndarray] = {}
        for tensor in tensors.values():
            storage = tensor.storage
            if storage.key not in whole:
                stored = archive.read(f"{root}data/{storage.key}")
                whole[storage.key] = _numbers(stored, storage)
        return {
            name: _view(tensor, whole[tensor.storage.key].view(tensor.storage.dtype))
            for name, tensor in tensors.items()
        }


def _from_stream(path: str, file: BinaryIO) -> dict[str, np.ndarray]:
    """The way of torch before 1.6: pickles, and then the numbers one after another."""

    def load():
        return _Unpickler(file).load()

    if load() != _MAGIC or load() != _PROTOCOL or not load().get("little_endian"):
        raise WeightsError(f"{path} is no file of torch, or not little-endian")
    tensors, keys = _named(load(), path), load()
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    if not isinstance(keys, list) or set(keys) != set(storages):
        raise WeightsError(f"{path} holds other storages than its tensors are of")
    whole = {}
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count != storage.count:
            raise WeightsError(f"storage {key} must have {storage.count}, got {count}")
        size = storage.count * storage.dtype.itemsize
        whole[key] = _numbers(file.read(size), storage)
    return {
        name: _view(tensor, whole[tensor.storage.key])
        for name, tensor in tensors.items()
    }


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns every tensor of a ``.bin`` or ``.pt`` file of weights by its name.

    Both ways in which torch has written files are read. Nothing in the file is run: a
    name of anything but a tensor, a dict or a number is refused.

    Raises:
      WeightsError: if the file is damaged, or holds anything beside tensors.
      FileNotFoundError: if there is none.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file of weights at {path!r}")
    try:
        if zipfile.is_zipfile(path):
            return _from_zip(path)
        with open(path, "rb") as file:
            return _from_stream(path, file)
    except WeightsError:
        raise
    except _FAULTS as error:
        raise WeightsError(f"{path} is no whole file of tensors: {error}") from error
