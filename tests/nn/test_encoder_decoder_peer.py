"""The encoder-decoder beside T5 of transformers, with copied weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.cross_attention import CrossAttention
from kexue_jax.nn.encoder_decoder import EncoderDecoder
from kexue_jax.nn.functional import functional
from kexue_jax.nn.positions import BucketBias

pytestmark = pytest.mark.peer
FEATURES, HEADS, SIZE, HIDDEN, LAYERS, VOCABULARY = 16, 2, 6, 24, 2, 19


def ours():
    sizes = dict(heads=HEADS, head_size=SIZE)
    attention = partial(softmax_attention, scale=1.0)
    mixer = partial(SelfAttention, **sizes, attention=attention)
    bias = partial(BucketBias, buckets=8, max_distance=10)
    return functional(
        partial(
            EncoderDecoder,
            VOCABULARY,
            features=FEATURES,
            encoder_layers=LAYERS,
            decoder_layers=LAYERS,
            hidden=HIDDEN,
            mixer=partial(mixer, bias=bias),
            decoder_mixer=partial(mixer, bias=partial(bias, is_causal=True)),
            reader=partial(CrossAttention, **sizes, attention=attention),
            activation=jax.nn.relu,
            norm=partial(nnx.RMSNorm, epsilon=1e-6),
        )
    )


def attention_params(theirs):
    names = {"query": "q", "key": "k", "value": "v", "output": "o"}
    return {
        name: {"kernel": array(getattr(theirs, letter)).T}
        for name, letter in names.items()
    }


def array(layer):
    return layer.weight.detach().numpy()


def stack_params(stack):
    blocks, bias = {}, None
    for number, block in enumerate(stack.block):
        mixer, *reader, feed = block.layer
        own = mixer.SelfAttention
        if bias is None:
            bias = array(own.relative_attention_bias)
        entry = {
            "mixer_norm": {"scale": array(mixer.layer_norm)},
            "mixer": attention_params(own) | {"bias": {"table": bias}},
            "feed_forward_norm": {"scale": array(feed.layer_norm)},
            "feed_forward": {
                "widen": {"kernel": array(feed.DenseReluDense.wi).T},
                "narrow": {"kernel": array(feed.DenseReluDense.wo).T},
            },
        }
        for other in reader:
            entry["reader_norm"] = {"scale": array(other.layer_norm)}
            entry["reader"] = attention_params(other.EncDecAttention)
        blocks[str(number)] = entry
    return {"blocks": blocks, "norm": {"scale": array(stack.final_layer_norm)}}


def test_gives_what_t5_gives(keys):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=VOCABULARY,
        d_model=FEATURES,
        d_kv=SIZE,
        d_ff=HIDDEN,
        num_layers=LAYERS,
        num_decoder_layers=LAYERS,
        num_heads=HEADS,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=10,
        feed_forward_proj="relu",
        initializer_factor=3.0,
    )
    theirs = transformers.T5ForConditionalGeneration(config).eval()
    source = np.array(jax.random.randint(next(keys), (2, 15), 0, VOCABULARY))
    tokens = np.array(jax.random.randint(next(keys), (2, 13), 0, VOCABULARY))
    kept = np.arange(15) < np.array([[15], [9]])
    with torch.no_grad():
        want = theirs(
            input_ids=torch.tensor(source),
            attention_mask=torch.tensor(kept),
            decoder_input_ids=torch.tensor(tokens),
        ).logits.numpy()
    init, apply = ours()
    params, extras = init(next(keys))
    copied = {
        "vocabulary": {"embedding": array(theirs.shared) / FEATURES**0.5},
        "encoder": stack_params(theirs.encoder),
        "decoder": stack_params(theirs.decoder),
    }
    assert jax.tree.map(jnp.shape, copied) == jax.tree.map(jnp.shape, params)
    got, _ = apply(copied, extras, tokens, source=source, source_kept=kept)
    assert np.abs(want).max() > 1.0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
