"""BERT beside that of transformers, with drawn weights and with those of MiniLM."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kexue_jax.data.wordpiece import WordPiece, padded_batches
from kexue_jax.nn.bert import Bert
from kexue_jax.nn.functional import functional
from kexue_jax.pretrained import encoders
from kexue_jax.pretrained.encoders import bert_sizes
from kexue_jax.pretrained.filling import exported, fill
from kexue_jax.pretrained.names import BERT

pytestmark = pytest.mark.peer


def arrays_of(theirs):
    return {name: value.detach().numpy() for name, value in theirs.state_dict().items()}


def ours(sizes, arrays):
    init, apply = functional(partial(Bert, **sizes))
    shapes, _ = jax.eval_shape(init, jax.random.key(0))
    return apply, fill(shapes, arrays, BERT)


def compared(theirs, apply, params, batch):
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(batch["tokens"], dtype=torch.long),
            attention_mask=torch.tensor(batch["kept"], dtype=torch.long),
            token_type_ids=torch.tensor(batch["segments"], dtype=torch.long),
            output_hidden_states=True,
        )
    options = {name: batch[name] for name in ("kept", "segments")}
    got, _ = apply(params, {}, batch["tokens"], **options, method="layers")
    pooled, _ = apply(params, {}, got[-1], method="pooled")
    assert len(got) == len(want.hidden_states)
    pairs = [*zip(got, want.hidden_states, strict=True), (pooled, want.pooler_output)]
    for mine, other in pairs:
        rows = batch["kept"] if mine.ndim == 3 else slice(None)
        yield np.asarray(mine)[rows], other.numpy()[rows]


def test_gives_what_bert_of_transformers_gives_with_drawn_weights():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=40,
        max_position_embeddings=20,
        layer_norm_eps=1e-7,
    )
    theirs = transformers.BertModel(config).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.2 * torch.randn(weight.shape))
    sizes = bert_sizes(config.to_dict())
    assert sizes["epsilon"] == 1e-7
    apply, (params, report) = ours(sizes, arrays_of(theirs))
    assert report.is_whole()
    draws = np.random.default_rng(0)
    batch = {
        "tokens": draws.integers(0, 50, (4, 11)).astype(np.int32),
        "segments": draws.integers(0, 2, (4, 11)).astype(np.int32),
        "kept": np.arange(11) < np.array([[11], [7], [2], [9]]),
    }
    for got, want in compared(theirs, apply, params, batch):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_weights_go_out_and_transformers_takes_them():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    sizes = dict(vocabulary=30, features=12, layers=2, heads=3, hidden=20, length=8)
    init, apply = functional(partial(Bert, **sizes, deviation=0.3))
    params, _ = init(jax.random.key(3))
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        max_position_embeddings=8,
    )
    theirs = transformers.BertModel(config).eval()
    written = {name: torch.tensor(x) for name, x in exported(params, BERT).items()}
    theirs.load_state_dict(written, strict=True)
    batch = {
        "tokens": np.arange(16, dtype=np.int32).reshape(2, 8),
        "segments": np.zeros((2, 8), np.int32),
        "kept": np.ones((2, 8), bool),
    }
    for got, want in compared(theirs, apply, params, batch):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def minilm():
    try:
        return encoders.locate("all_minilm_l6_v2")
    except encoders.EncoderNotFoundError as error:
        pytest.skip(str(error))


def test_gives_what_transformers_gives_with_the_weights_of_minilm():
    transformers = pytest.importorskip("transformers")
    folder = minilm()
    found = encoders.encoder("all_minilm_l6_v2")
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    apply, (params, report) = ours(found.sizes, found.arrays)
    assert report.is_whole()
    assert report.spare == ("embeddings.position_ids",)
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(params)) == 22_713_216
    texts = ["A man plays a guitar.", "Zürich: 中文, naïve!", "x", "word " * 60]
    read = WordPiece(found.vocabulary, **found.reading)
    for rows in padded_batches(read.encode_all(texts), batch=2):
        batch = {name: getattr(rows, name) for name in ("tokens", "segments", "kept")}
        for got, want in compared(theirs, apply, params, batch):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
            cosine = jnp.sum(got * want, -1) / (
                jnp.linalg.norm(got, axis=-1) * jnp.linalg.norm(want, axis=-1)
            )
            assert cosine.min() > 1 - 1e-6
