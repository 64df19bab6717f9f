import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.nn.functional import functional
from kexue_jax.pretrained import tensorflow_names
from kexue_jax.pretrained.architectures import architecture
from kexue_jax.pretrained.families import encoder_names, gpt_names
from kexue_jax.pretrained.files import WeightsError
from kexue_jax.pretrained.filling import exported, fill, paths
from kexue_jax.pretrained.loading import drawn
from kexue_jax.pretrained.models import model_of, names_of

FILES = drawn()
POOLED = encoder_names("bert", "pooler")


def shapes_of(head):
    init, _ = functional(FILES.model(head))
    return jax.eval_shape(init, jax.random.key(0))[0]


@pytest.fixture(scope="module")
def shapes():
    return shapes_of("pooler")


def test_every_array_finds_its_place_and_comes_back_bit_by_bit(shapes):
    params, report = FILES.filled(shapes, "pooler")
    assert report.is_whole()
    assert sorted(report.matched.values()) == sorted(FILES.arrays)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes)
    back = exported(params, POOLED)
    assert back.keys() == FILES.arrays.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, FILES.arrays[name])
    query = "encoder.layer.1.attention.self.query.weight"
    mine = params["backbone"]["blocks"]["1"]["mixer"]["query"]["kernel"]
    np.testing.assert_array_equal(mine.T, FILES.arrays[query])
    assert "backbone/blocks/1/mixer/query/kernel" in report.transposed


def test_old_names_and_what_a_file_holds_beside_are_understood(shapes):
    old = {
        "bert."
        + name.replace("Norm.weight", "Norm.gamma").replace(
            "Norm.bias", "Norm.beta"
        ): array.astype(np.float16)
        for name, array in FILES.arrays.items()
    }
    old["cls.predictions.bias"] = old["bert.embeddings.position_ids"] = np.zeros(3)
    params, report = fill(shapes, old, POOLED)
    assert params["backbone"]["embeddings"]["norm"]["scale"].dtype == np.float32
    assert report.cast["backbone/embeddings/norm/scale"] == ("float16", "float32")
    assert set(report.spare) == {"cls.predictions.bias", "bert.embeddings.position_ids"}
    assert "2 not needed" in str(report)


def test_a_backbone_alone_leaves_heads_in_the_file():
    assert set(FILES.filled(shapes_of(None)).report.spare) == {
        "pooler.dense.weight",
        "pooler.dense.bias",
    }


def test_an_array_that_should_repeat_another_has_to():
    shapes = shapes_of("vocabulary")
    names = encoder_names("bert", "vocabulary")
    init, _ = functional(FILES.model("vocabulary"))
    arrays = exported(init(jax.random.key(0))[0], names)
    table = arrays["bert.embeddings.word_embeddings.weight"]
    again = arrays | {
        "cls.predictions.decoder.weight": table.copy(),
        "cls.predictions.decoder.bias": arrays["cls.predictions.bias"].copy(),
        "cls.seq_relationship.weight": np.zeros((2, 12)),
    }
    report = fill(shapes, again, names).report
    assert len(report.spare) == 3
    again["cls.predictions.decoder.weight"] = table + 1.0
    with pytest.raises(WeightsError, match=r"unexpected: cls\.predictions\.decoder"):
        fill(shapes, again, names)


def test_queries_keys_and_values_of_gpt_are_parts_of_one_array():
    packed = np.arange(24.0).reshape(2, 12)
    names = gpt_names("gpt2")
    mixer = {
        part: {"kernel": np.zeros((2, 4)), "bias": np.zeros(4)}
        for part in ("query", "key", "value")
    }
    tree = {"blocks": {"3": {"mixer": mixer}}}
    arrays = {
        "h.3.attn.c_attn.weight": packed,
        "transformer.h.3.attn.c_attn.bias": np.arange(12.0),
    }
    found = fill(tree, arrays, names).params["blocks"]["3"]["mixer"]
    np.testing.assert_array_equal(found["key"]["kernel"], packed[:, 4:8])
    np.testing.assert_array_equal(found["value"]["bias"], np.arange(8.0, 12.0))
    back = exported(fill(tree, arrays, names).params, names)
    np.testing.assert_array_equal(back["h.3.attn.c_attn.weight"], packed)
    del mixer["value"]
    with pytest.raises(ValueError, match="of 3 parts, got 2"):
        exported(tree, names)
    arrays["h.3.attn.c_attn.weight"] = np.zeros((2, 11))
    mixer["value"] = mixer["key"]
    with pytest.raises(WeightsError, match=r"is \(2, 4\) here, \(2, 11\)"):
        fill(tree, arrays, names)


def test_names_of_tensorflow_lead_to_the_same_arrays(shapes):
    """Kernels are not turned there, but for that of one head."""
    init, _ = functional(FILES.model("next_sentence"))
    params, _ = init(jax.random.key(0))
    names = tensorflow_names.encoder_names("bert", "next_sentence")
    arrays = exported(params, names)
    for name in (
        "embeddings/word_embeddings",
        "embeddings/LayerNorm/gamma",
        "encoder/layer_1/attention/output/LayerNorm/beta",
        "encoder/layer_0/intermediate/dense/kernel",
        "pooler/dense/bias",
    ):
        assert f"bert/{name}" in arrays
    kernel = params["head"]["scores"]["kernel"]
    np.testing.assert_array_equal(
        arrays["cls/seq_relationship/output_weights"], kernel.T
    )
    arrays["cls/predictions/output_bias"] = arrays["global_step"] = np.zeros(())
    arrays["bert/pooler/dense/bias/adam_m"] = np.zeros(12)
    back, report = fill(params, arrays, names)
    assert len(report.spare) == 3
    jax.tree.map(np.testing.assert_array_equal, back, jax.device_get(params))


def written(settings, kind=None, form="tensorflow"):
    """Drawn parameters, the names that TensorFlow has for them, and its arrays."""
    built = architecture(settings, kind=kind)
    init, _ = functional(model_of(built))
    params = jax.device_get(init(jax.random.key(0))[0])
    names = names_of(built, form=form)
    return built, params, names, exported(params, names)


def test_gpt_2_is_read_as_openai_wrote_it():
    hyper = dict(n_vocab=20, n_ctx=9, n_embd=8, n_head=2, n_layer=12)
    built, params, names, arrays = written(hyper)
    assert (built.family, built.sizes["length"]) == ("gpt2", 9)
    shapes = {name: array.shape for name, array in arrays.items()}
    assert shapes["model/wte"] == (20, 8)
    assert shapes["model/wpe"] == (9, 8)
    assert shapes["model/h11/attn/c_attn/w"] == (1, 8, 24)
    assert shapes["model/h0/attn/c_proj/b"] == (8,)
    assert shapes["model/h0/mlp/c_fc/w"] == (1, 8, 32)
    assert shapes["model/h3/ln_2/g"] == shapes["model/ln_f/b"] == (8,)
    query = params["blocks"]["0"]["mixer"]["query"]["kernel"]
    np.testing.assert_array_equal(arrays["model/h0/attn/c_attn/w"][0, :, :8], query)
    back, report = fill(params, arrays, names)
    assert report.is_whole()
    jax.tree.map(np.testing.assert_array_equal, back, params)


BERT4KERAS = dict(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=24,
    max_position_embeddings=9,
    hidden_act="gelu",
    hidden_dropout_prob=0.3,
)
BERT_NAMES = {
    "gpt/embeddings/word_embeddings": (20, 8),
    "gpt/embeddings/position_embeddings": (9, 8),
    "gpt/transformer/layer_1/attention/self/query/kernel": (8, 8),
    "gpt/transformer/layer_0/intermediate/dense/kernel": (8, 24),
}


@pytest.mark.parametrize(
    ("kind", "form", "own"),
    [
        (
            "openai-gpt",
            "tensorflow",
            BERT_NAMES | {"gpt/transformer/layer_0/output/LayerNorm/gamma": (8,)},
        ),
        (
            "gpt2",
            "bert4keras",
            BERT_NAMES
            | {
                "gpt/transformer/layer_0/attention/input/LayerNorm/gamma": (8,),
                "gpt/transformer/layer_1/attention/output/dense/kernel": (8, 8),
                "gpt/transformer/layer_1/input/LayerNorm/beta": (8,),
                "gpt/output/LayerNorm/gamma": (8,),
            },
        ),
        (
            "gpt2_ml",
            "tensorflow",
            {
                "newslm/embeddings/word_embed": (20, 8),
                "newslm/embeddings/pos_embed": (9, 8),
                "newslm/embeddings/LayerNorm_embed_norm/gamma": (8,),
                "newslm/layer01/query_layer/kernel": (8, 8),
                "newslm/layer00/context_projection_layer/bias": (8,),
                "newslm/layer00/LayerNorm_mlp_ln0/beta": (8,),
                "newslm/layer00/intermediate/kernel": (8, 24),
                "newslm/layer01/output/kernel": (24, 8),
                "newslm/layer01/LayerNorm_mlp_ln1/gamma": (8,),
            },
        ),
    ],
)
def test_causal_models_are_read_as_bert4keras_has_them(kind, form, own):
    built, params, names, arrays = written(BERT4KERAS, kind=kind, form=form)
    assert (built.sizes["hidden"], built.sizes["length"]) == (24, 9)
    assert built.sizes["dropout_rate"] == 0.3
    assert own.items() <= {name: array.shape for name, array in arrays.items()}.items()
    assert not any("token_type" in name for name in arrays)
    arrays[f"{next(iter(own))}/adafactor_vr"] = np.zeros(20)
    back, report = fill(params, arrays, names)
    assert report.is_whole()
    jax.tree.map(np.testing.assert_array_equal, back, params)


def test_gpt2_ml_is_not_written_for_transformers():
    built = architecture(BERT4KERAS, kind="gpt2_ml")
    with pytest.raises(ValueError, match="gpt2_ml has names in files of TensorFlow"):
        names_of(built)
    with pytest.raises(ValueError, match="head must be None or 'vocabulary'"):
        names_of(built, "pooler", form="tensorflow")


@pytest.mark.parametrize("act", ["relu", ["gelu", "linear"]])
def test_t5_is_read_as_google_and_mt5_wrote_it(act):
    settings = dict(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_head_size=5,
        intermediate_size=24,
        hidden_act=act,
    )
    is_gated = act != "relu"
    built, params, names, arrays = written(settings, kind="t5")
    assert built.sizes["is_gated"] == is_gated
    assert built.sizes["tied"] == (not is_gated)
    wide = "wi_0" if is_gated else "wi"
    for name, shape in (
        ("shared/embedding", (20, 8)),
        ("encoder/block_001/layer_000/SelfAttention/q", (8, 10)),
        ("encoder/block_000/layer_000/SelfAttention/relative_attention_bias", (2, 32)),
        ("encoder/block_000/layer_000/layer_norm/scale", (8,)),
        (f"encoder/block_000/layer_001/DenseReluDense/{wide}/kernel", (8, 24)),
        ("decoder/block_001/layer_001/EncDecAttention/o", (10, 8)),
        ("decoder/block_001/layer_002/DenseReluDense/wo/kernel", (24, 8)),
        ("decoder/final_layer_norm/scale", (8,)),
    ):
        assert arrays[name].shape == shape
    if is_gated:
        assert arrays["decoder/logits/kernel"].shape == (8, 20)
    newer = {  # mT5 calls a norm another thing, and leaves what AdaFactor has kept
        name.replace("final_layer_norm", "rms_norm").replace("layer_norm", "rms_norm")
        if "norm" in name
        else name: array
        for name, array in arrays.items()
    }
    slot = "encoder/block_000/layer_000/SelfAttention/q_slot_vr"
    newer |= {slot: np.zeros(8), "global_step": np.zeros(())}
    for own in (arrays, newer):
        back, report = fill(params, own, names)
        assert report.is_whole()
        jax.tree.map(np.testing.assert_array_equal, back, params)
    assert len(report.spare) == 2


def test_what_does_not_fit_is_named_and_refused_unless_it_is_asked_for(shapes):
    wrong = dict(FILES.arrays)
    del wrong["encoder.layer.0.output.dense.bias"]
    wrong["encoder.layer.9.output.dense.bias"] = np.zeros(12, np.float32)
    wrong["pooler.dense.weight"] = np.zeros((12, 11), np.float32)
    with pytest.raises(WeightsError) as caught:
        fill(shapes, wrong, POOLED)
    for line in (
        "missing: backbone/blocks/0/feed_forward/narrow/bias",
        "misshapen: head/pooler/kernel is (12, 12) here, (11, 12) in the file",
        "unexpected: encoder.layer.9.output.dense.bias",
    ):
        assert line in str(caught.value)
    with pytest.raises(ValueError, match="has no values to stay as it is"):
        fill(shapes, wrong, POOLED, partial=True)
    own = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 7.0), shapes)
    params, report = fill(own, wrong, POOLED, partial=True)
    assert not report.is_whole()
    assert (params["head"]["pooler"]["kernel"] == 7.0).all()
    blocks = params["backbone"]["blocks"]
    assert (blocks["0"]["feed_forward"]["narrow"]["bias"] == 7.0).all()
    assert not any((leaf == 7.0).any() for _, leaf in paths(blocks["1"]))


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
            fill(shapes, FILES.arrays | {"pooler.dense.bias": bad}, POOLED)
    twice = FILES.arrays | {"bert.pooler.dense.bias": np.zeros(12, np.float32)}
    with pytest.raises(WeightsError, match="one array by two names"):
        fill(shapes, twice, POOLED)
    with pytest.raises(ValueError, match="has no parameter 'head/other/kernel'"):
        fill({"head": {"other": {"kernel": np.zeros(2)}}}, FILES.arrays, POOLED)
