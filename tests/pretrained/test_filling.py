from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.nn.bert import Bert
from kexue_jax.nn.functional import functional
from kexue_jax.pretrained.encoders import drawn_encoder
from kexue_jax.pretrained.files import WeightsError
from kexue_jax.pretrained.filling import exported, fill, paths
from kexue_jax.pretrained.names import BERT

ENCODER = drawn_encoder()


@pytest.fixture(scope="module")
def shapes():
    init, _ = functional(partial(Bert, **ENCODER.sizes))
    return jax.eval_shape(init, jax.random.key(0))[0]


def test_every_array_finds_its_place_and_comes_back_bit_by_bit(shapes):
    params, report = ENCODER.filled(shapes)
    assert report.is_whole()
    assert sorted(report.matched.values()) == sorted(ENCODER.arrays)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    back = exported(params, BERT)
    assert back.keys() == ENCODER.arrays.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, ENCODER.arrays[name])
    query = "encoder.layer.1.attention.self.query.weight"
    mine = params["blocks"]["1"]["mixer"]["query"]["kernel"]
    np.testing.assert_array_equal(mine.T, ENCODER.arrays[query])
    assert "blocks/1/mixer/query/kernel" in report.transposed


def test_old_names_and_what_a_file_holds_beside_are_understood(shapes):
    old = {
        "bert."
        + name.replace("Norm.weight", "Norm.gamma").replace(
            "Norm.bias", "Norm.beta"
        ): array.astype(np.float16)
        for name, array in ENCODER.arrays.items()
    }
    old["cls.predictions.bias"] = old["bert.embeddings.position_ids"] = np.zeros(3)
    params, report = fill(shapes, old, BERT)
    assert params["norm"]["scale"].dtype == np.float32
    assert report.cast["norm/scale"] == ("float16", "float32")
    assert set(report.spare) == {"cls.predictions.bias", "bert.embeddings.position_ids"}
    assert "2 not needed" in str(report)


def test_an_encoder_without_a_pooler_leaves_it_in_the_file():
    init, _ = functional(partial(Bert, **ENCODER.sizes, has_pooler=False))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    assert set(fill(shapes, ENCODER.arrays, BERT).report.spare) == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }


def test_what_does_not_fit_is_named_and_refused_unless_it_is_asked_for(shapes):
    wrong = dict(ENCODER.arrays)
    del wrong["encoder.layer.0.output.dense.bias"]
    wrong["encoder.layer.9.output.dense.bias"] = np.zeros(12, np.float32)
    wrong["pooler.dense.weight"] = np.zeros((12, 11), np.float32)
    with pytest.raises(WeightsError) as caught:
        fill(shapes, wrong, BERT)
    for line in (
        "missing: blocks/0/feed_forward/narrow/bias",
        "misshapen: pooler/kernel is (12, 12) here, (11, 12) in the file",
        "unexpected: encoder.layer.9.output.dense.bias",
    ):
        assert line in str(caught.value)
    with pytest.raises(ValueError, match="has no values to stay as it is"):
        fill(shapes, wrong, BERT, partial=True)
    own = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), shapes)
    params, report = fill(own, wrong, BERT, partial=True)
    assert not report.is_whole()
    assert (params["pooler"]["kernel"] == 7.0).all()
    assert (params["blocks"]["0"]["feed_forward"]["narrow"]["bias"] == 7.0).all()
    assert not any((leaf == 7.0).any() for _, leaf in paths(params["blocks"]["1"]))


def test_numbers_that_are_none_and_two_names_of_one_array_are_refused(shapes):
    for bad, message in (
        (np.full(12, np.nan, np.float32), "not finite"),
        (np.full(12, 1e300), "not finite"),
        (np.full(12, "x", object), "holds object"),
    ):
        with (
            pytest.raises(WeightsError, match=message),
            np.errstate(over="ignore"),
        ):
            fill(shapes, ENCODER.arrays | {"pooler.dense.bias": bad}, BERT)
    twice = ENCODER.arrays | {"bert.pooler.dense.bias": np.zeros(12, np.float32)}
    with pytest.raises(WeightsError, match="one array by two names"):
        fill(shapes, twice, BERT)
    with pytest.raises(ValueError, match="BERT has no parameter 'head/kernel'"):
        fill({"head": {"kernel": np.zeros(2)}}, ENCODER.arrays, BERT)
