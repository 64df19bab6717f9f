"""A checkpoint that TensorFlow itself has written."""

import json

import ml_dtypes
import numpy as np
import pytest

from kexue_jax.pretrained import load_pretrained, read_tensorflow
from kexue_jax.pretrained.filling import exported
from kexue_jax.pretrained.loading import drawn
from kexue_jax.pretrained.tensorflow_names import encoder_names

pytestmark = pytest.mark.peer


def saved(tensorflow, prefix, arrays):
    """Writes variables as the code of BERT does: by the saver of the first version."""
    v1 = tensorflow.compat.v1
    with v1.Graph().as_default(), v1.Session() as session:
        for name, array in arrays.items():
            v1.get_variable(name, initializer=tensorflow.constant(array))
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(prefix), write_meta_graph=False)


def test_arrays_of_every_dtype_are_read_bit_by_bit(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    draws = np.random.default_rng(0)
    kinds = ("f4", "f8", "f2", "i4", "i8", "u1", "?", ml_dtypes.bfloat16)
    arrays = {
        f"part_{place}/{np.dtype(kind).name}": (10 * draws.normal(size=(5, 7))).astype(
            kind
        )
        for place, kind in enumerate(kinds)
    }
    arrays["scalar"] = np.float32(3.5)
    for place in range(300):  # more than one block
        arrays[f"bert/encoder/layer_{place}/kernel"] = np.full((2, 2), place, "f4")
    saved(tensorflow, tmp_path / "model.ckpt", arrays)
    found = read_tensorflow(tmp_path / "model.ckpt")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == np.asarray(array).dtype
        assert found[name].tobytes() == np.asarray(array).tobytes()


def test_a_folder_as_google_has_published_it_is_a_model(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    files = drawn()
    params = files.restored("pooler").params
    names = encoder_names("bert", "pooler")
    saved(tensorflow, tmp_path / "bert_model.ckpt", exported(params, names))
    settings = dict(
        vocab_size=77,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
    )
    (tmp_path / "bert_config.json").write_text(json.dumps(settings))
    found = load_pretrained(path=tmp_path)
    assert found.form == "tensorflow"
    again = found.restored("pooler").params
    for ours, theirs in zip(*map(_leaves, (params, again)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def _leaves(tree):
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    return [tree]
