"""Checkpoints of TensorFlow, written here without TensorFlow."""

import json
import struct

import jax
import ml_dtypes
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.pretrained import (
    WeightsError,
    architecture,
    exported,
    load_pretrained,
    model_of,
    names_of,
    read_tensorflow,
)

crc32c = pytest.importorskip("google_crc32c")

CODES = {
    np.dtype(np.float32): 1,
    np.dtype(np.int64): 9,
    np.dtype(ml_dtypes.bfloat16): 14,
    np.dtype(np.float16): 19,
}


def masked(content):
    crc = crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(entries, restart=2):
    """A block of sorted entries whose keys share beginnings, and its checksum."""
    body, restarts, before = b"", [], b""
    for place, (key, value) in enumerate(entries):
        shared = 0
        if place % restart == 0:
            restarts.append(len(body))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        sizes = (shared, len(key) - shared, len(value))
        body += b"".join(map(varint, sizes)) + key[shared:] + value
        before = key
    body += struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))
    whole = body + b"\0"
    return whole + struct.pack("<I", masked(whole)), len(body)


def written(prefix, arrays, *, parts=1, texts=(), change=lambda entry: entry):
    shards, entries = [b""] * parts, {}
    for place, (name, array) in enumerate(sorted(arrays.items())):
        shard, content = place % parts, array.tobytes()
        dims = b"".join(field(2, field(1, n)) for n in array.shape)
        entries[name.encode()] = change(
            field(1, CODES[array.dtype])
            + field(2, dims)
            + field(3, shard)
            + field(4, len(shards[shard]))
            + field(5, len(content))
            + varint(6 << 3 | 5)
            + struct.pack("<I", masked(content))
        )
        shards[shard] += content
    for name in texts:
        entries[name.encode()] = field(1, 7) + field(2, b"") + field(5, 9)
    entries[b""] = field(1, parts) + field(3, field(1, 1))
    table, handles = b"", []
    ordered = sorted(entries.items())
    for at in range(0, len(ordered), 3):  # several blocks
        made, size = block(ordered[at : at + 3])
        handles.append((ordered[at][0] + b"~", varint(len(table)) + varint(size)))
        table += made
    handle = varint(len(table)) + varint(block(handles, 1)[1])
    table += block(handles, 1)[0]
    footer = (varint(0) + varint(0) + handle).ljust(40, b"\0")
    table += footer + struct.pack("<Q", 0xDB4775248B80FB57)
    index = prefix.with_name(prefix.name + ".index")
    index.write_bytes(table)
    for shard, content in enumerate(shards):
        name = f"{prefix.name}.data-{shard:05}-of-{parts:05}"
        prefix.with_name(name).write_bytes(content)
    return index


def arrays():
    draws = np.random.default_rng(0)
    found = {
        f"bert/encoder/layer_{k}/output/dense/kernel": draws.normal(size=(3, k + 1))
        for k in range(5)
    }
    found = {name: array.astype(np.float32) for name, array in found.items()}
    found["bert/half"] = draws.normal(size=(2, 2)).astype(ml_dtypes.bfloat16)
    found["bert/small"] = draws.normal(size=4).astype(np.float16)
    found["global_step"] = np.array(1000, np.int64)
    found["empty"] = np.zeros((0, 3), np.float32)
    return found


@pytest.mark.parametrize("parts", [1, 2])
def test_arrays_are_read_bit_by_bit(tmp_path, parts):
    want = arrays()
    prefix = tmp_path / "bert_model.ckpt"
    index = written(prefix, want, parts=parts, texts=["_CHECKPOINTABLE_OBJECT_GRAPH"])
    for path in (prefix, str(prefix), index):
        found = read_tensorflow(path)
        assert found.keys() == want.keys()
        for name, array in want.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes()


def test_a_byte_that_was_changed_anywhere_is_noticed(tmp_path):
    prefix = tmp_path / "x"
    index = written(prefix, arrays())
    data = tmp_path / "x.data-00000-of-00001"
    for path in (index, data):
        content = bytearray(path.read_bytes())
        # The footer holds, beside what is read, where another block is, and padding.
        places = range(0, len(content) - (48 if path == index else 0), 7)
        for place in places:
            content[place] ^= 4
            path.write_bytes(content)
            with pytest.raises(WeightsError):
                read_tensorflow(prefix)
            content[place] ^= 4
        path.write_bytes(content)
    assert len(read_tensorflow(prefix)) == len(arrays())


def test_files_that_are_cut_short_or_absent_are_refused(tmp_path):
    prefix = tmp_path / "x"
    index = written(prefix, arrays())
    data = tmp_path / "x.data-00000-of-00001"
    whole = index.read_bytes()
    for end in (0, 10, 47, len(whole) // 2, len(whole) - 1):
        index.write_bytes(whole[:end])
        with pytest.raises(WeightsError):
            read_tensorflow(prefix)
    index.write_bytes(whole)
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match="beyond the end of the data"):
        read_tensorflow(prefix)
    data.unlink()
    with pytest.raises(FileNotFoundError, match="data-00000-of-00001"):
        read_tensorflow(prefix)
    with pytest.raises(FileNotFoundError, match="no index of a checkpoint"):
        read_tensorflow(tmp_path / "y")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (field(5, 2**62), "bytes of float32"),
        (field(1, 8), "unknown dtype 8"),
        (field(3, 5), "is in part 5 of 1"),
        (field(7, b""), "is in slices"),
        (field(2, field(2, field(1, 2**60))), "bytes of float32"),
        (b"\xff" * 12, "more than ten bytes"),
        (field(9, b"")[:1], "is no whole index"),
        (varint(9 << 3 | 3), "unknown wire type 3"),
        (varint(9 << 3 | 2) + varint(99), "beyond its message"),
    ],
)
def test_hostile_entries_are_refused(tmp_path, more, message):
    one = {"x": np.ones((2, 3), np.float32)}
    written(tmp_path / "x", one, change=lambda entry: entry + more)
    with pytest.raises(WeightsError, match=message):
        read_tensorflow(tmp_path / "x")


def test_gpt_2_of_bert4keras_is_loaded_from_its_folder(tmp_path):
    settings = dict(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=9,
    )
    built = architecture(settings, kind="gpt2")
    init, _ = functional(model_of(built))
    params = jax.device_get(init(jax.random.key(0))[0])
    arrays = exported(params, names_of(built, form="bert4keras"))
    (tmp_path / "config.json").write_text(json.dumps(settings))
    written(tmp_path / "model.ckpt", arrays)
    files = load_pretrained(path=tmp_path, kind="gpt2")
    assert files.form == "bert4keras"
    restored = files.restored()
    assert restored.report.is_whole()
    jax.tree.map(np.testing.assert_array_equal, restored.params, params)
