"""The pretrained families: what tells them apart, as arguments of one `Backbone`.

Each function makes the model of its family and is named in a config as a model is; all
sizes are keyword arguments, those of the published base models by default, so that
``functools.partial`` of one is a maker of models.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from flax import nnx

from kexue_jax.algorithms.activations import gelu, gelu_tanh
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.backbone import Attention, Backbone, Embeddings, FeedForward
from kexue_jax.nn.positions import LearnedPositions
from kexue_jax.nn.relative import NezhaAttention
from kexue_jax.position.rotary import rotary

Activation = Callable[[jax.Array], jax.Array]


def _head_size(features, heads, head_size):
    if head_size is not None:
        return head_size
    if heads < 1 or features % heads:
        raise ValueError(
            f"heads must divide {features} features unless head_size is given, "
            f"got {heads}"
        )
    return features // heads


def bert(
    vocabulary: int,
    *,
    features: int = 768,
    layers: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    length: int | None = 512,
    segments: int = 2,
    embedding_size: int | None = None,
    head_size: int | None = None,
    groups: int | None = None,
    first_place: int = 0,
    attention: Callable[..., Any] = softmax_attention,
    rotation: Callable[..., jax.Array] | None = None,
    turns_values: bool = False,
    activation: Activation = gelu,
    mask: Callable[..., jax.Array] | None = None,
    is_causal: bool = False,
    epsilon: float = 1e-12,
    dropout_rate: float = 0.0,
    deviation: float = 0.02,
    rngs: nnx.Rngs,
) -> Backbone:
    """Returns BERT: learned places, normalised sums, biases everywhere.

    RoBERTa is BERT with ``segments=1, first_place=2``; UniLM is any family with
    ``mask=unilm_mask``.

    Args:
      vocabulary: V, how many tokens there are.
      features, layers, heads, hidden: D, blocks, N, and size inside feed-forward maps.
      length: how many places have a trained vector; None has none.
      segments: how many kinds of text have a vector; 0 has none.
      embedding_size: of the vectors of tokens; default D.
      head_size: H; default D / N.
      groups: how many different blocks there are; default one each layer.
      first_place: row of the first token among the `length` places.
      attention: as in `SelfAttention`.
      rotation: turns queries and keys, as `rotary` does; `turns_values` values too.
      activation: of the feed-forward maps; in BERT with the error function.
      mask, is_causal: of `Backbone`.
      epsilon: of layer normalisation.
      dropout_rate: of the embeddings and of all that a block adds.
      deviation: of all kernels and embeddings, in the beginning.
      rngs: where the initial weights come from; it is not kept.

    Raises:
      ValueError: if there are no layers or tokens, or heads do not divide.

    Source: Devlin et al., https://arxiv.org/abs/1810.04805
    """
    draw = nnx.initializers.normal(deviation)
    norm = partial(nnx.LayerNorm, epsilon=epsilon, use_fast_variance=False)
    places = (
        None
        if length is None
        else partial(LearnedPositions, length=length, scale=deviation)
    )
    return Backbone(
        features,
        layers=layers,
        groups=groups,
        length=None if length is None else length - first_place,
        embeddings=partial(
            Embeddings,
            vocabulary,
            size=embedding_size,
            segments=segments,
            position=places,
            first_place=first_place,
            norm=norm,
            dropout_rate=dropout_rate,
            kernel_init=draw,
        ),
        mixer=partial(
            Attention,
            heads=heads,
            head_size=_head_size(features, heads, head_size),
            attention=attention,
            position=rotation,
            turns_values=turns_values,
            kernel_init=draw,
        ),
        feed_forward=partial(
            FeedForward, hidden=hidden, activation=activation, kernel_init=draw
        ),
        norm=norm,
        mask=mask,
        is_causal=is_causal,
        dropout_rate=dropout_rate,
        rngs=rngs,
    )


def albert(
    vocabulary: int,
    *,
    embedding_size: int = 128,
    groups: int = 1,
    activation: Activation = gelu_tanh,
    rngs: nnx.Rngs,
    **sizes: Any,
) -> Backbone:
    """Returns ALBERT: `bert` with narrow embeddings and one block for all layers.

    The first checkpoints have the error function in their activation, the second ones
    the tanh; see their settings.

    Source: Lan et al., https://arxiv.org/abs/1909.11942
    """
    return bert(
        vocabulary,
        embedding_size=embedding_size,
        groups=groups,
        activation=activation,
        rngs=rngs,
        **sizes,
    )


def nezha(vocabulary: int, *, clip: int = 64, rngs: nnx.Rngs, **sizes: Any) -> Backbone:
    """Returns NEZHA: `bert` whose places are sinusoids of distances up to `clip`.

    Source: Wei et al., https://arxiv.org/abs/1909.00204
    """
    attention = partial(NezhaAttention, clip=clip)
    return bert(vocabulary, length=None, attention=attention, rngs=rngs, **sizes)


def roformer(vocabulary: int, *, rngs: nnx.Rngs, **sizes: Any) -> Backbone:
    """Returns RoFormer: `bert` whose places turn queries and keys.

    Source: Su et al., https://arxiv.org/abs/2104.09864;
      https://kexue.fm/archives/8265
    """
    return bert(vocabulary, length=None, rotation=rotary, rngs=rngs, **sizes)


def roformer_v2(
    vocabulary: int,
    *,
    features: int = 768,
    layers: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    segments: int = 2,
    embedding_size: int | None = None,
    head_size: int | None = None,
    rotation: Callable[..., jax.Array] = rotary,
    activation: Activation = jax.nn.relu,
    mask: Callable[..., jax.Array] | None = None,
    is_causal: bool = False,
    epsilon: float = 1e-12,
    dropout_rate: float = 0.0,
    deviation: float = 0.02,
    rngs: nnx.Rngs,
) -> Backbone:
    """Returns RoFormerV2: `roformer` without biases, and with norms without weights.

    Sums are divided by their root mean square alone; embeddings are dropped before it.
    Arguments as in `bert`.

    Source: https://kexue.fm/archives/8998
    """
    draw = nnx.initializers.normal(deviation)
    norm = partial(nnx.RMSNorm, epsilon=epsilon, use_scale=False)
    plain = dict(use_bias=False, kernel_init=draw)
    return Backbone(
        features,
        layers=layers,
        embeddings=partial(
            Embeddings,
            vocabulary,
            size=embedding_size,
            segments=segments,
            norm=norm,
            drops_first=True,
            dropout_rate=dropout_rate,
            **plain,
        ),
        mixer=partial(
            Attention,
            heads=heads,
            head_size=_head_size(features, heads, head_size),
            position=rotation,
            **plain,
        ),
        feed_forward=partial(
            FeedForward, hidden=hidden, activation=activation, **plain
        ),
        norm=norm,
        mask=mask,
        is_causal=is_causal,
        dropout_rate=dropout_rate,
        rngs=rngs,
    )


def gpt(
    vocabulary: int,
    *,
    features: int = 768,
    layers: int = 12,
    heads: int = 12,
    hidden: int | None = None,
    length: int = 512,
    norm_last: bool = True,
    activation: Activation = gelu_tanh,
    mask: Callable[..., jax.Array] | None = None,
    is_causal: bool = True,
    epsilon: float = 1e-5,
    dropout_rate: float = 0.0,
    deviation: float = 0.02,
    rngs: nnx.Rngs,
) -> Backbone:
    """Returns GPT: places see those before alone, and embeddings have no norm.

    Args:
      hidden: default ``4 * features``.
      norm_last: whether sums are normalised; GPT-2 normalises what maps read.
      activation: with the tanh.
      vocabulary, features, layers, heads, length, mask, is_causal, epsilon,
        dropout_rate, deviation, rngs: as in `bert`.

    Source: Radford et al., Improving Language Understanding by Generative Pre-Training
    """
    draw = nnx.initializers.normal(deviation)
    return Backbone(
        features,
        layers=layers,
        length=length,
        embeddings=partial(
            Embeddings,
            vocabulary,
            position=partial(LearnedPositions, length=length, scale=deviation),
            dropout_rate=dropout_rate,
            kernel_init=draw,
        ),
        mixer=partial(
            Attention,
            heads=heads,
            head_size=_head_size(features, heads, None),
            kernel_init=draw,
        ),
        feed_forward=partial(
            FeedForward,
            hidden=4 * features if hidden is None else hidden,
            activation=activation,
            kernel_init=draw,
        ),
        norm=partial(nnx.LayerNorm, epsilon=epsilon, use_fast_variance=False),
        norm_last=norm_last,
        mask=mask,
        is_causal=is_causal,
        dropout_rate=dropout_rate,
        rngs=rngs,
    )


def gpt2(
    vocabulary: int, *, length: int = 1024, rngs: nnx.Rngs, **sizes: Any
) -> Backbone:
    """Returns GPT-2: `gpt` that normalises what its maps read, and once at the end.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners
    """
    return gpt(vocabulary, length=length, norm_last=False, rngs=rngs, **sizes)
