import json
import struct

import numpy as np
import pytest

from kexue_jax.pretrained.files import (
    WeightsError,
    read_parts,
    read_safetensors,
    read_settings,
)
from kexue_jax.pretrained.writing import write_safetensors


def written(path, header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_what_safetensors_writes_is_read(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b": np.array(3, np.int64)}
    numpy.save_file(arrays, tmp_path / "x.safetensors")
    found = read_safetensors(tmp_path / "x.safetensors")
    assert found.keys() == arrays.keys()
    for name in arrays:
        np.testing.assert_array_equal(found[name], arrays[name])
        assert found[name].dtype == arrays[name].dtype


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (entry(), b"\0" * 7),  # cut short
        (entry(), b"\0" * 9),  # something behind the end
        (entry(offsets=(8, 0)), b"\0" * 8),
        (entry(offsets=(0, 2**62)), b"\0" * 8),
        (entry(shape=(2**40, 2**40)), b"\0" * 8),
        (entry(shape=(-1,)), b"\0" * 8),
        (entry(dtype="O"), b"\0" * 8),
        ({**entry(), "v": entry()["w"]}, b"\0" * 8),  # two over one another
        (b"[1, 2]", b""),
        (b"{" * 5000, b""),
        (b"cnumpy\nload\n", b""),
    ],
)
def test_a_hostile_or_damaged_file_is_refused(tmp_path, header, body):
    pytest.importorskip("safetensors")
    path = written(tmp_path / "x.safetensors", header, body)
    with pytest.raises(WeightsError, match=r"x\.safetensors is no whole"):
        read_safetensors(path)


def test_a_file_of_a_few_bytes_or_none_is_refused(tmp_path):
    pytest.importorskip("safetensors")
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match="no file of weights"):
        read_safetensors(path)
    for content in (b"", b"\xff" * 7, struct.pack("<Q", 2**63), b"\x80\x04N."):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            read_safetensors(path)


def test_settings_are_an_object_of_moderate_size(tmp_path):
    path = tmp_path / "config.json"
    for content, message in (
        ("[1]", "must hold an object, got list"),
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        (" " * (2**20 + 1), "at most 1 MiB"),
        ("\ud800", "is no JSON"),
    ):
        path.write_text(content, "utf-8", "surrogatepass")
        with pytest.raises(WeightsError, match=message):
            read_settings(path)
    path.write_text('{"a": 1}')
    assert read_settings(path) == {"a": 1}


def test_numbers_of_two_bytes_are_read_and_of_one_refused(tmp_path):
    pytest.importorskip("safetensors")
    pytest.importorskip("ml_dtypes")  # comes with jax, which knows these dtypes
    body = np.array([1.0, -2.0], np.float32).view(np.uint16)[1::2].tobytes()
    path = written(tmp_path / "x.safetensors", entry("BF16", offsets=(0, 4)), body)
    found = read_safetensors(path)["w"]
    assert found.astype(np.float32).tolist() == [1.0, -2.0]
    written(path, entry("F8_E4M3", offsets=(0, 2)), b"88")
    with pytest.raises(WeightsError, match="that numpy can hold"):
        read_safetensors(path)


def test_what_is_written_comes_back_and_parts_make_a_whole(tmp_path):
    pytest.importorskip("safetensors")
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array(3, np.int64)}
    write_safetensors(tmp_path / "x.safetensors", arrays)
    write_safetensors(tmp_path / "y.safetensors", {"c": np.ones(2), "d": np.ones(1)})
    found = read_safetensors(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found["a"], arrays["a"])
    index = tmp_path / "model.safetensors.index.json"
    named = {"a": "x.safetensors", "c": "y.safetensors"}
    index.write_text(json.dumps({"weight_map": named}))
    assert set(read_parts(index, read_safetensors)) == {"a", "c"}
    for wrong, message in (
        ({"a": "../x.safetensors"}, "must name files beside it"),
        ({"z": "x.safetensors"}, "'z' is not in x.safetensors"),
        ({}, "must hold a weight_map"),
    ):
        index.write_text(json.dumps({"weight_map": wrong}))
        with pytest.raises(WeightsError, match=message):
            read_parts(index, read_safetensors)
    index.write_text(json.dumps({"weight_map": {"a": "none.safetensors"}}))
    with pytest.raises(FileNotFoundError):
        read_parts(index, read_safetensors)
