"""Every family beside that of transformers, with drawn weights and those of MiniLM."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.algorithms.directions import directions
from kexue_jax.algorithms.pooling import mean_of_tokens
from kexue_jax.data.wordpiece import WordPiece, padded_batches
from kexue_jax.pretrained import (
    Pretrained,
    PretrainedNotFoundError,
    architecture,
    exported,
    load_pretrained,
    locate,
    names_of,
    write_safetensors,
)

pytestmark = pytest.mark.peer

SIZES = dict(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=40,
    max_position_embeddings=22,
    layer_norm_eps=1e-7,
)
NARROW = dict(embedding_size=10)
FOUR = dict(num_hidden_layers=4)
GPT = dict(vocab_size=50, n_embd=24, n_layer=3, n_head=4, n_positions=22)
T5 = dict(vocab_size=50, d_model=24, d_kv=5, d_ff=40, num_layers=2, num_heads=4)
LENGTH = 11

# Name of the class in transformers, of its settings, the settings, and our head.
CASES = [
    ("BertModel", "BertConfig", {}, "pooler"),
    ("BertForMaskedLM", "BertConfig", {}, "vocabulary"),
    ("BertForMaskedLM", "BertConfig", {"hidden_act": "relu"}, "vocabulary"),
    ("BertForMaskedLM", "BertConfig", {"hidden_act": "gelu_new"}, "vocabulary"),
    ("BertLMHeadModel", "BertConfig", {"is_decoder": True}, "vocabulary"),
    ("BertForNextSentencePrediction", "BertConfig", {}, "next_sentence"),
    ("BertForSequenceClassification", "BertConfig", {"num_labels": 3}, "classes"),
    ("BertForTokenClassification", "BertConfig", {"num_labels": 5}, "places"),
    ("BertForQuestionAnswering", "BertConfig", {}, "span"),
    ("RobertaForMaskedLM", "RobertaConfig", {"type_vocab_size": 1}, "vocabulary"),
    ("RobertaForSequenceClassification", "RobertaConfig", {"num_labels": 3}, "classes"),
    ("RobertaForTokenClassification", "RobertaConfig", {"num_labels": 3}, "places"),
    ("AlbertModel", "AlbertConfig", NARROW, "pooler"),
    ("AlbertForMaskedLM", "AlbertConfig", NARROW, "vocabulary"),
    ("AlbertForMaskedLM", "AlbertConfig", {"embedding_size": 24}, "vocabulary"),
    (
        "AlbertForMaskedLM",
        "AlbertConfig",
        {**NARROW, **FOUR, "num_hidden_groups": 2, "hidden_act": "gelu"},
        "vocabulary",
    ),
    (
        "AlbertForSequenceClassification",
        "AlbertConfig",
        {**NARROW, "num_labels": 3},
        "classes",
    ),
    ("RoFormerForMaskedLM", "RoFormerConfig", {}, "vocabulary"),
    ("RoFormerForMaskedLM", "RoFormerConfig", NARROW, "vocabulary"),
    ("RoFormerForMaskedLM", "RoFormerConfig", {"rotary_value": True}, "vocabulary"),
    (
        "RoFormerForSequenceClassification",
        "RoFormerConfig",
        {**NARROW, "num_labels": 3},
        "classes",
    ),
    ("RoFormerForTokenClassification", "RoFormerConfig", {"num_labels": 3}, "places"),
    ("RoFormerForQuestionAnswering", "RoFormerConfig", {}, "span"),
    ("ElectraForMaskedLM", "ElectraConfig", NARROW, "vocabulary"),
    (
        "ElectraForSequenceClassification",
        "ElectraConfig",
        {**NARROW, "num_labels": 3},
        "classes",
    ),
    ("GPT2LMHeadModel", "GPT2Config", {}, "vocabulary"),
    ("GPT2LMHeadModel", "GPT2Config", {"n_inner": 40, "n_layer": 1}, "vocabulary"),
    ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", {}, "vocabulary"),
    ("OpenAIGPTLMHeadModel", "OpenAIGPTConfig", {"afn": "relu"}, "vocabulary"),
    ("NezhaForMaskedLM", "NezhaConfig", {}, "vocabulary"),
    ("NezhaForMaskedLM", "NezhaConfig", {"max_relative_position": 3}, "vocabulary"),
]


def arrays_of(theirs):
    return {name: value.detach().numpy() for name, value in theirs.state_dict().items()}


def shaken(theirs):
    """Weights of the size of trained ones: gains about 1, sinusoids as they are."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "embed_positions" in name:
                continue
            gain = 1.0 if weight.ndim == 1 and name.endswith("weight") else 0.0
            weight.copy_(gain + 0.2 * torch.randn(weight.shape))
    return theirs.eval()


def drawn():
    draws = np.random.default_rng(0)
    kept = np.arange(LENGTH) < np.array([[LENGTH], [7], [2], [9]])
    # 1 is padding's in RoBERTa, which counts places by it.
    tokens = np.where(kept, draws.integers(2, 50, (4, LENGTH)), 1).astype(np.int32)
    return tokens, kept, draws.integers(0, 2, (4, LENGTH)).astype(np.int32)


def answer(theirs, inputs):
    found = theirs(**inputs)
    if "start_logits" in found:
        torch = pytest.importorskip("torch")
        return torch.stack([found.start_logits, found.end_logits], -1)
    return found.logits if "logits" in found else found.pooler_output


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{len(case[2])}")
def test_outputs_and_gradients_are_those_of_transformers(case):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model, settings, more, head = case
    if not hasattr(transformers, model):
        pytest.skip(f"this version of transformers has no {model}")
    sizes = GPT if "GPT" in model else SIZES
    config = getattr(transformers, settings)(**sizes | more)
    theirs = shaken(getattr(transformers, model)(config))
    about = config.to_dict()
    built = architecture(about)
    files = Pretrained(built, arrays_of(theirs))
    classes = about.get("num_labels") or len(about.get("id2label", [0, 1]))
    apply, params, report = files.restored(head, classes=classes, dropout_rate=0.0)
    assert report.is_whole()
    tokens, kept, segments = drawn()
    inputs = dict(input_ids=tokens, attention_mask=kept)
    options = dict(kept=kept)
    if built.sizes.get("segments", 0) == 2:
        inputs["token_type_ids"], options["segments"] = segments, segments
    inputs = {k: torch.tensor(v, dtype=torch.long) for k, v in inputs.items()}
    want = answer(theirs, inputs)
    seen = kept if want.ndim == 3 else slice(None)
    got, _ = jax.jit(apply)(params, {}, tokens, **options)
    np.testing.assert_allclose(
        np.asarray(got)[seen], want.detach().numpy()[seen], rtol=1e-5, atol=1e-5
    )
    weight = np.random.default_rng(1).normal(size=want.shape).astype(np.float32)
    weight = np.where(kept[..., None], weight, 0.0) if want.ndim == 3 else weight

    def weighted(params):
        return jnp.sum(weight * apply(params, {}, tokens, **options)[0])

    slopes = exported(jax.jit(jax.grad(weighted))(params), names_of(built, head))
    (want * torch.tensor(weight, dtype=want.dtype)).sum().backward()
    checked = 0
    front = names_of(built, head).front
    for name, parameter in theirs.named_parameters():
        mine = slopes.get(name, slopes.get(name.removeprefix(front)))
        if parameter.grad is None or mine is None:
            continue
        scale = max(1.0, float(parameter.grad.abs().max()))
        np.testing.assert_allclose(
            mine / scale, parameter.grad.numpy() / scale, atol=1e-5, err_msg=name
        )
        checked += 1
    assert checked >= len(slopes) - 2


@pytest.mark.parametrize("feed", ["relu", "gated-gelu"])
def test_t5_gives_what_that_of_transformers_gives(feed):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        **T5,
        num_decoder_layers=3,
        feed_forward_proj=feed,
        tie_word_embeddings=feed == "relu",
    )
    theirs = shaken(transformers.T5ForConditionalGeneration(config))
    about = config.to_dict()
    if feed != "relu":  # transformers 5 ties them all; two matrices stay two
        own = 0.2 * torch.randn(50, 24)
        theirs.lm_head.weight = torch.nn.Parameter(own)
        about["tie_word_embeddings"] = False
    files = Pretrained(architecture(about), arrays_of(theirs))
    apply, params, report = files.restored(dropout_rate=0.0)
    assert report.is_whole()
    tokens, kept, target = drawn()
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(kept, dtype=torch.long),
            decoder_input_ids=torch.tensor(target, dtype=torch.long),
        ).logits.numpy()
    got, _ = jax.jit(apply)(params, {}, target, source=tokens, source_kept=kept)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "settings", "more", "head"),
    [CASES[1], CASES[9], CASES[13], CASES[17], CASES[23], CASES[25]],
    ids=lambda part: str(part)[:24],
)
def test_weights_go_out_and_transformers_loads_the_file(
    model, settings, more, head, tmp_path
):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = GPT if "GPT" in model else SIZES
    config = getattr(transformers, settings)(**sizes | more)
    files = Pretrained(architecture(config.to_dict()), {})
    from kexue_jax.nn.functional import functional

    init, apply = functional(files.model(head, dropout_rate=0.0, deviation=0.3))
    params, _ = jax.jit(init)(jax.random.key(0))
    names = names_of(files.architecture, head)
    write_safetensors(tmp_path / "model.safetensors", exported(params, names))
    config.save_pretrained(tmp_path)
    theirs, info = getattr(transformers, model).from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert not info["unexpected_keys"]
    assert not {k for k in info["missing_keys"] if "embed_positions" not in k}
    tokens, kept, _ = drawn()
    with torch.no_grad():
        want = theirs.eval()(
            input_ids=torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(kept, dtype=torch.long),
        ).logits.numpy()
    got, _ = apply(params, {}, tokens, kept=kept)
    np.testing.assert_allclose(np.asarray(got)[kept], want[kept], rtol=1e-5, atol=1e-5)
    back = load_pretrained(path=tmp_path).restored(head).params
    jax.tree.map(np.testing.assert_array_equal, params, back)


def minilm():
    try:
        return locate("all_minilm_l6_v2")
    except PretrainedNotFoundError as error:
        pytest.skip(str(error))


def test_gives_what_transformers_gives_with_the_weights_of_minilm():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = minilm()
    found = load_pretrained("all_minilm_l6_v2")
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    apply, params, report = found.restored("pooler")
    assert report.spare == ("embeddings.position_ids",)
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(params)) == 22_713_216
    texts = ["A man plays a guitar.", "Zürich: 中文, naïve!", "x", "word " * 60]
    read = WordPiece(found.vocabulary, **found.reading)
    layers = jax.jit(partial(apply, method="layers"))
    for rows in padded_batches(read.encode_all(texts), batch=2):
        with torch.no_grad():
            want = theirs(
                input_ids=torch.tensor(rows.tokens, dtype=torch.long),
                attention_mask=torch.tensor(rows.kept, dtype=torch.long),
                token_type_ids=torch.tensor(rows.segments, dtype=torch.long),
                output_hidden_states=True,
            )
        got, _ = layers(params, {}, rows.tokens, kept=rows.kept)
        for mine, other in zip(got, want.hidden_states, strict=True):
            x, y = np.asarray(mine)[rows.kept], other.numpy()[rows.kept]
            np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
            cosine = np.sum(x * y, -1) / np.linalg.norm(x, axis=-1)
            assert (cosine / np.linalg.norm(y, axis=-1)).min() > 1 - 1e-6
        pooled, _ = apply(params, {}, rows.tokens, kept=rows.kept)
        np.testing.assert_allclose(pooled, want.pooler_output, rtol=1e-5, atol=1e-5)


def test_embeddings_of_sentences_are_those_of_sentence_transformers():
    peer = pytest.importorskip("sentence_transformers")
    texts = ["A man plays a guitar.", "Zürich: 中文, naïve!", "x", "", "word " * 300]
    found = load_pretrained("all_minilm_l6_v2", path=minilm())
    want = peer.SentenceTransformer(str(minilm()), device="cpu").encode(texts)
    apply, params, _ = found.restored()
    read = WordPiece(found.vocabulary, **found.reading | {"length": 256})
    got = np.zeros_like(want)
    for rows in padded_batches(read.encode_all(texts), batch=2):
        states, _ = jax.jit(apply)(params, {}, rows.tokens, kept=rows.kept)
        means = mean_of_tokens(states, jnp.asarray(rows.kept))
        got[rows.texts] = directions(means)[: len(rows.texts)]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
