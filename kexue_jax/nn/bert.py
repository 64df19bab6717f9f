"""BERT: an encoder of tokens, each of whose layers can be read."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.activations import gelu
from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import SelfAttention
from kexue_jax.nn.blocks import Block
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key
from kexue_jax.nn.positions import LearnedPositions


class BiasedAttention(SelfAttention):
    """`SelfAttention` whose four projections have biases."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        kernel_init: Callable[..., jax.Array],
        rngs: nnx.Rngs,
        **options: Any,
    ):
        """Draws kernels by `kernel_init`; `options` are those of `SelfAttention`."""
        super().__init__(
            features, heads=heads, head_size=head_size, rngs=rngs, **options
        )
        inner, shared = heads * head_size, self.key_heads * head_size
        linear = partial(nnx.Linear, kernel_init=kernel_init, rngs=rngs)
        self.query = linear(features, inner)
        self.key = linear(features, shared)
        self.value = linear(features, shared)
        self.output = linear(inner, features)


class BiasedFeedForward(nnx.Module):
    """Two linear maps with biases around an activation, at each place alone."""

    def __init__(
        self,
        features: int,
        hidden: int,
        *,
        activation: Callable[[jax.Array], jax.Array],
        kernel_init: Callable[..., jax.Array],
        rngs: nnx.Rngs,
    ):
        """Widens `features` to `hidden` and back."""
        self.activation = activation
        linear = partial(nnx.Linear, kernel_init=kernel_init, rngs=rngs)
        self.widen = linear(features, hidden)
        self.narrow = linear(hidden, features)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns an array like `inputs`, ``[..., D]``."""
        return self.narrow(self.activation(self.widen(inputs)))


class Bert(nnx.Module):
    """Embeddings of tokens, segments and places, and blocks that normalise sums.

    Names of parameters of other libraries are mapped by `kexue_jax.pretrained`.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        layers: int,
        heads: int,
        hidden: int,
        length: int = 512,
        segments: int = 2,
        head_size: int | None = None,
        attention: Callable[..., Any] = softmax_attention,
        activation: Callable[[jax.Array], jax.Array] = gelu,
        epsilon: float = 1e-12,
        dropout_rate: float = 0.0,
        deviation: float = 0.02,
        has_pooler: bool = True,
        rngs: nnx.Rngs,
    ):
        """Makes an encoder.

        Args:
          vocabulary: V, how many tokens there are.
          features: D.
          layers: how many blocks.
          heads: N.
          hidden: inner size of the feed-forward maps.
          length: how many places have a vector.
          segments: how many kinds of text have a vector.
          head_size: H; default D / N.
          attention: as in `SelfAttention`.
          activation: of the feed-forward maps; in BERT with the error function.
          epsilon: of layer normalisation.
          dropout_rate: of the embeddings and of all that a block adds. Weights of
            attention are not dropped.
          deviation: of all kernels and embeddings, in the beginning.
          has_pooler: whether there is a map for `pooled`.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no layers, or heads do not divide the features.
        """
        if layers < 1:
            raise ValueError(f"layers must be at least 1, got {layers}")
        if head_size is None and (heads < 1 or features % heads):
            raise ValueError(
                f"heads must divide {features} features unless head_size is given, "
                f"got {heads}"
            )
        size = features // heads if head_size is None else head_size
        draw = nnx.initializers.normal(deviation)
        norm = partial(nnx.LayerNorm, epsilon=epsilon, use_fast_variance=False)
        self.dropout_rate, self.length = dropout_rate, length
        self.tokens = nnx.Embed(vocabulary, features, embedding_init=draw, rngs=rngs)
        self.segments = nnx.Embed(segments, features, embedding_init=draw, rngs=rngs)
        self.positions = LearnedPositions(
            features=features, length=length, scale=deviation, rngs=rngs
        )
        self.norm = norm(features, rngs=rngs)
        self.blocks = nnx.List(
            Block(
                features,
                mixer=partial(
                    BiasedAttention,
                    heads=heads,
                    head_size=size,
                    attention=attention,
                    kernel_init=draw,
                ),
                feed_forward=partial(
                    BiasedFeedForward,
                    hidden=hidden,
                    activation=activation,
                    kernel_init=draw,
                ),
                norm=norm,
                norm_last=True,
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        self.pooler = (
            nnx.Linear(features, features, kernel_init=draw, rngs=rngs)
            if has_pooler
            else None
        )

    def layers(
        self,
        tokens: jax.Array,
        *,
        kept: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Returns the embeddings and what each block makes, each ``[B, T, D]``.

        Args:
          tokens: ``[B, T]`` integers in ``[0, V)``; one outside gives nan.
          kept: bool ``[B, T]``, True for a token and False for padding, which no place
            reads; None keeps all. What comes out at padding means nothing.
          segments: ``[B, T]`` integers; None is 0 everywhere.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Raises:
          ValueError: if the shapes disagree, T exceeds the places, or training lacks
            its key.
        """
        if tokens.ndim != 2:
            raise ValueError(f"tokens must be [B, T], got {tokens.shape}")
        if tokens.shape[1] > self.length:
            raise ValueError(
                f"tokens must be at most {self.length} a row, got {tokens.shape[1]}"
            )
        for name, array in (("kept", kept), ("segments", segments)):
            if array is not None and array.shape != tokens.shape:
                raise ValueError(
                    f"{name} must be {tokens.shape} as tokens are, got {array.shape}"
                )
        if kept is not None and kept.dtype != jnp.bool_:
            raise ValueError(f"kept must be bool, got {kept.dtype}")
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, *others = dropout_keys(rng, len(self.blocks) + 1)
        kinds = jnp.zeros_like(tokens) if segments is None else segments
        places = self.positions(jnp.arange(tokens.shape[1]))
        stream = self.tokens(tokens) + self.segments(kinds) + places[None]
        stream = dropout(self.norm(stream), rate=self.dropout_rate, rng=first)
        mask = None if kept is None else kept[:, None, None, :]
        found = [stream]
        for block, key in zip(self.blocks, others, strict=True):
            found.append(block(found[-1], mask, rng=key))
        return tuple(found)

    def __call__(
        self,
        tokens: jax.Array,
        *,
        kept: jax.Array | None = None,
        segments: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns what the last block makes, ``[B, T, D]``; see `layers`."""
        return self.layers(tokens, kept=kept, segments=segments, train=train, rng=rng)[
            -1
        ]

    def pooled(
        self,
        states: jax.Array,
        *,
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
    ) -> jax.Array:
        """Returns ``[B, D]``, a map of the first place of ``[B, T, D]``.

        Raises:
          ValueError: if the encoder was made without a pooler.
        """
        if self.pooler is None:
            raise ValueError("this encoder was made with has_pooler=False")
        return activation(self.pooler(states[:, 0]))
