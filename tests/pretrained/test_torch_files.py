"""Files of torch, written here without torch in both of its ways."""

import collections
import io
import pickle
import sys
import types
import zipfile

import ml_dtypes
import numpy as np
import pytest

from kexue_jax.pretrained import WeightsError, read_torch

STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
}


class Tensor:
    """A view of a storage, as torch pickles it."""

    def __init__(self, key, data, offset, shape, strides):
        self.key, self.data = key, data
        self.rest = offset, shape, strides


class Storage:
    def __init__(self, key, data):
        self.key, self.data = key, data


@pytest.fixture
def torch(monkeypatch):
    """Modules of these names, so that pickles can name what is in them."""
    outer, inner = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(storage, offset, shape, strides, requires_grad, hooks):
        raise AssertionError("is only named")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = rebuild
    for name in STORAGES.values():
        setattr(outer, name, type(name, (), {"__module__": "torch"}))
    monkeypatch.setitem(sys.modules, "torch", outer)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                kind = getattr(outer, STORAGES[obj.data.dtype])
                view = () if self.is_zip else (None,)
                return ("storage", kind, obj.key, "cpu", len(obj.data), *view)
            return None

        def reducer_override(self, obj):
            if isinstance(obj, Tensor):
                hooks = collections.OrderedDict()
                storage = Storage(obj.key, obj.data)
                return rebuild, (storage, *obj.rest, False, hooks)
            return NotImplemented

    def dumped(obj, is_zip):
        file = io.BytesIO()
        pickler = Pickler(file, protocol=2)
        pickler.is_zip = is_zip
        pickler.dump(obj)
        return file.getvalue()

    return dumped


def state():
    """Tensors by name, and what they are: one shared, one strided, one turned."""
    plain = np.arange(12, dtype=np.float32)
    half = np.arange(3).astype(ml_dtypes.bfloat16)
    whole = np.array([7], np.int64)
    tensors = collections.OrderedDict(
        weight=Tensor("0", plain, 0, (3, 4), (4, 1)),
        turned=Tensor("0", plain, 0, (4, 3), (1, 4)),
        strided=Tensor("0", plain, 1, (3,), (4,)),
        half=Tensor("1", half, 0, (3,), (1,)),
        scalar=Tensor("2", whole, 0, (), ()),
    )
    arrays = dict(
        weight=plain.reshape(3, 4),
        turned=plain.reshape(3, 4).T,
        strided=plain[1::4],
        half=half,
        scalar=np.int64(7),
    )
    return tensors, arrays, {"0": plain, "1": half, "2": whole}


def zipped(path, dumped, tensors, storages, *, order=b"little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", dumped(tensors, True))
        archive.writestr("model/byteorder", order)
        for key, data in storages.items():
            archive.writestr(f"model/data/{key}", data.tobytes())
    return path


def streamed(path, dumped, tensors, storages):
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        pickle.dumps(1001, protocol=2),
        pickle.dumps({"little_endian": True}, protocol=2),
        dumped(tensors, False),
        pickle.dumps(list(storages), protocol=2),
    ]
    for data in storages.values():
        parts += [len(data).to_bytes(8, "little"), data.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("write", [zipped, streamed])
def test_views_of_storages_are_the_arrays_that_were_meant(tmp_path, torch, write):
    tensors, arrays, storages = state()
    found = read_torch(write(tmp_path / "x.bin", torch, tensors, storages))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    inner = {"state_dict": tensors, "epoch": 3}
    assert read_torch(write(tmp_path / "y.bin", torch, inner, storages)).keys() == (
        arrays.keys()
    )


@pytest.mark.parametrize(
    ("shape", "strides", "offset", "message"),
    [
        ((3, 5), (4, 1), 0, "of 12 numbers"),
        ((3, 4), (5, 1), 0, "reaches number"),
        ((3, 4), (4, 1), 1, "reaches number 12 of 12"),
        ((2**40, 2**40), (0, 0), 0, "of 12 numbers"),
        ((-1, 4), (4, 1), 0, "has the shape"),
        ((3, 4), (-4, 1), 8, "has the shape"),
        ((3, 4), (4,), 0, "has the shape"),
        ((3.0, 4), (4, 1), 0, "has the shape"),
    ],
)
def test_a_tensor_never_reaches_out_of_its_storage(
    tmp_path, torch, shape, strides, offset, message
):
    data = np.arange(12, dtype=np.float32)
    tensors = {"x": Tensor("0", data, offset, shape, strides)}
    path = zipped(tmp_path / "x.bin", torch, tensors, {"0": data})
    with pytest.raises(WeightsError, match=message):
        read_torch(path)


class Shell:
    def __reduce__(self):
        return print, ("this must not be printed",)


class Getter:
    def __reduce__(self):
        return getattr, (collections.OrderedDict, "fromkeys")


@pytest.mark.parametrize("write", [zipped, streamed])
@pytest.mark.parametrize("hostile", [Shell(), Getter(), [1], {"x": 3}, {3: "x"}])
def test_whatever_is_no_tensor_is_refused_and_not_run(
    tmp_path, torch, write, hostile, capsys
):
    path = write(tmp_path / "x.bin", torch, hostile, {})
    with pytest.raises(WeightsError, match=r"no tensor|must hold"):
        read_torch(path)
    assert not capsys.readouterr().out


def test_a_function_of_the_file_cannot_be_given_a_state(tmp_path, torch):
    # As `rebuild.__setstate__({...})` would be: the opcode BUILD on a known name.
    program = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x01\x00\x00\x00aK\x01sb."
    path = tmp_path / "x.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", program)
    with pytest.raises(WeightsError, match="a function has a state"):
        read_torch(path)


@pytest.mark.parametrize("write", [zipped, streamed])
def test_a_file_that_is_cut_short_or_changed_is_refused(tmp_path, torch, write):
    tensors, _, storages = state()
    path = write(tmp_path / "x.bin", torch, tensors, storages)
    content = path.read_bytes()
    for end in (0, 1, 20, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(WeightsError):
            read_torch(path)
    with pytest.raises(WeightsError):
        read_torch(write(path, torch, tensors, {**storages, "0": np.zeros(3, "f4")}))
    with pytest.raises(WeightsError):
        read_torch(write(path, torch, tensors, {"0": storages["0"]}))
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        read_torch(tmp_path / "none.bin")


def test_big_endian_files_are_refused(tmp_path, torch):
    tensors, _, storages = state()
    path = zipped(tmp_path / "x.bin", torch, tensors, storages, order=b"big")
    with pytest.raises(WeightsError, match="little-endian"):
        read_torch(path)
