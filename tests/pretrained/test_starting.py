from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.nn.heads import Headed, PlaceHead
from kexue_jax.nn.text_to_text import TextToText
from kexue_jax.pretrained import Pretrained, WeightsError, architecture
from kexue_jax.pretrained.loading import drawn
from kexue_jax.pretrained.starting import started, started_from_arrays

FILES = drawn()


def shapes_of(make):
    init, _ = functional(make)
    return jax.eval_shape(init, jax.random.key(0))[0]


def test_a_backbone_is_found_anywhere_and_other_parts_are_named():
    tags = partial(Headed, backbone=FILES.model(), head=partial(PlaceHead, classes=3))
    shapes = {"tagger": shapes_of(tags), "transitions": np.zeros((3, 3))}
    start = started(shapes, FILES)
    want = FILES.restored().params
    table = start.leaves["tagger/backbone/embeddings/tokens/embedding"]
    np.testing.assert_array_equal(table, want["embeddings"]["tokens"]["embedding"])
    assert len(start.leaves) == len(jax.tree.leaves(want))
    assert "not of the file: tagger/head/scores/kernel" in start.text
    assert "not of the file: transitions" in start.text


def test_a_head_that_the_file_has_too_is_taken():
    pooled = started(shapes_of(FILES.model("pooler")), FILES)
    assert "head/pooler/kernel" in pooled.leaves
    assert "not of the file" not in pooled.text
    scored = started(shapes_of(FILES.model("vocabulary")), FILES)
    assert not any(path.startswith("head/") for path in scored.leaves)
    assert "not of the file: head/bias" in scored.text


def test_a_backbone_of_another_size_is_refused_unless_a_part_is_asked_for():
    wide = shapes_of(FILES.model("pooler", vocabulary=80, layers=3))
    with pytest.raises(WeightsError) as caught:
        started(wide, FILES)
    assert "embeddings/tokens/embedding is (80, 12) here, (77, 12)" in str(caught.value)
    assert "missing: backbone/blocks/2/mixer/query/kernel" in str(caught.value)
    start = started(wide, FILES, partial=True)
    assert "backbone/embeddings/tokens/embedding" not in start.leaves
    assert "backbone/blocks/1/mixer/query/kernel" in start.leaves
    assert "missing: backbone/blocks/2/mixer/query/kernel" in start.text


def test_there_has_to_be_one_backbone():
    one = shapes_of(FILES.model())
    for shapes, count in (({"x": np.zeros(2)}, 0), ({"a": one, "b": one}, 2)):
        with pytest.raises(WeightsError, match=f"one bert backbone.*found {count}"):
            started(shapes, FILES)


def test_both_sides_of_t5_begin_with_the_file():
    settings = dict(vocab_size=9, d_model=8, d_kv=3, d_ff=12, num_layers=2, num_heads=2)
    built = architecture(settings | {"model_type": "t5"})
    init, _ = functional(Pretrained(built, {}).model())
    params, _ = init(jax.random.key(0))
    from kexue_jax.pretrained import exported, names_of

    files = Pretrained(built, exported(params, names_of(built)))
    make = partial(TextToText, 9, features=8, layers=2, heads=2, hidden=12, head_size=3)
    start = started({"model": shapes_of(make)}, files)
    assert len(start.leaves) == len(jax.tree.leaves(params))
    np.testing.assert_array_equal(
        start.leaves["model/decoder/blocks/1/reader/key/kernel"],
        params["decoder"]["blocks"]["1"]["reader"]["key"]["kernel"],
    )


def test_parameters_of_another_run_are_taken_by_their_paths():
    theirs = {"a": {"b": np.ones(3)}, "c": np.zeros((2, 2)), "d": np.ones(1)}
    ours = {"a": {"b": np.zeros(3, np.float32)}, "c": np.zeros((2, 3)), "e": np.ones(2)}
    with pytest.raises(WeightsError) as caught:
        started_from_arrays(ours, theirs)
    for line in ("missing: e", "misshapen: c is (2, 3)", "unexpected: d"):
        assert line in str(caught.value)
    start = started_from_arrays(ours, theirs, partial=True)
    assert start.leaves.keys() == {"a/b"}
    assert start.leaves["a/b"].dtype == np.float32
    np.testing.assert_array_equal(start.leaves["a/b"], 1.0)
