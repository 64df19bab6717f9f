from functools import partial

import jax
import numpy as np
import pytest

from kexue_jax.nn import families
from kexue_jax.nn.extractor import Extractor, Tagger
from kexue_jax.nn.functional import functional
from kexue_jax.nn.heads import Headed, PlaceHead
from kexue_jax.nn.text_to_text import TextToText
from kexue_jax.nn.token_head import token_head
from kexue_jax.pretrained import Pretrained, WeightsError, architecture
from kexue_jax.pretrained.filling import paths
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


ENCODER = partial(families.roformer, features=8, layers=1, heads=2, hidden=16)
MARKED = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def pretrained(pieces, **sizes):
    """Parameters of a masked language model on tokens."""
    encoder = partial(ENCODER, len(pieces), **sizes)
    head = partial(token_head, vocabulary=len(pieces))
    init, _ = functional(partial(Headed, backbone=encoder, head=head))
    return init(jax.random.key(0))[0]


def extractor_of(size):
    encoder = partial(ENCODER, size)
    return shapes_of(partial(Extractor, encoder=encoder, head=partial(Tagger, tags=3)))


def test_an_encoder_begins_with_a_backbone_that_stood_elsewhere():
    theirs = pretrained([*MARKED, "a", "b"])
    ours = extractor_of(7)
    start = started_from_arrays(ours, theirs)
    count = len(jax.tree.leaves(theirs["backbone"]))
    assert start.leaves.keys() == {
        f"encoder/{path}" for path, _ in paths(theirs["backbone"])
    }
    np.testing.assert_array_equal(
        start.leaves["encoder/blocks/0/mixer/query/kernel"],
        theirs["backbone"]["blocks"]["0"]["mixer"]["query"]["kernel"],
    )
    assert f"{count} arrays matched" in start.text
    assert "not of the run: head/emissions/kernel" in start.text
    assert "not of the run: head/chain/transitions" in start.text
    assert "of the run, and not taken: head/bias" in start.text


def test_vectors_of_tokens_are_taken_by_what_they_stand_for():
    before, now = [*MARKED, "a", "b", "c"], [*MARKED, "c", "x", "a"]
    theirs = pretrained(before)
    table = np.asarray(theirs["backbone"]["embeddings"]["tokens"]["embedding"])
    start = started_from_arrays(extractor_of(8), theirs, pieces=(now, before))
    got = start.leaves["encoder/embeddings/tokens/embedding"]
    np.testing.assert_array_equal(got, table[[0, 1, 2, 3, 4, 7, 1, 5]])
    assert "7 of 8 tokens are of the run" in start.text
    assert "1 begin as its [UNK]" in start.text
    # Fewer tokens than before, and nothing is said where they are the same.
    fewer = started_from_arrays(extractor_of(6), theirs, pieces=(now[:6], before))
    assert fewer.leaves["encoder/embeddings/tokens/embedding"].shape == (6, 8)
    same = started_from_arrays(extractor_of(8), theirs, pieces=(before, before))
    assert "[UNK]" not in same.text
    np.testing.assert_array_equal(
        same.leaves["encoder/embeddings/tokens/embedding"], table
    )


def test_a_run_on_other_tokens_or_of_another_size_is_refused_unless_in_part():
    before = [*MARKED, "a"]
    theirs = pretrained(before)
    others = [*MARKED, *"bcdefgh"]
    with pytest.raises(WeightsError, match="5 of our 12 tokens, of which it should"):
        started_from_arrays(extractor_of(12), theirs, pieces=(others, before))
    start = started_from_arrays(
        extractor_of(12), theirs, pieces=(others, before), partial=True
    )
    assert "7 begin as its [UNK]" in start.text
    with pytest.raises(WeightsError, match=r"and no \[UNK\]"):
        started_from_arrays(extractor_of(2), theirs, pieces=("ab", "ba"), partial=True)
    with pytest.raises(WeightsError) as caught:
        started_from_arrays(extractor_of(6), pretrained(before, layers=2, hidden=8))
    for line in (
        "misshapen: encoder/blocks/0/feed_forward/widen/kernel is (8, 16) here, (8, 8)",
        "unexpected: encoder/blocks/1/mixer/query/kernel",
    ):
        assert line in str(caught.value)
    part = started_from_arrays(
        extractor_of(6), pretrained(before, layers=2), partial=True
    )
    assert "encoder/blocks/0/mixer/query/kernel" in part.leaves
