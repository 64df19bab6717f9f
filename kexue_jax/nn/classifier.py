"""A classifier of tokens: blocks over places and a mean."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import SelfAttention, built
from kexue_jax.nn.dropout import dropout
from kexue_jax.nn.transformer import Block, FeedForward


class TokenClassifier(nnx.Module):
    """Reads tokens, mixes them, and gives scores of classes to the mean over places."""

    def __init__(
        self,
        classes: int,
        *,
        vocabulary: int,
        features: int,
        layers: int,
        hidden: int,
        mixer: Callable[..., nnx.Module] = SelfAttention,
        position: Callable[..., Any] | None = None,
        padding: int | None = None,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.gelu,
        dropout_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """Makes a classifier.

        Args:
          classes: C.
          vocabulary: V, how many tokens there are.
          features: D, size of the stream that the blocks add to.
          layers: how many blocks.
          hidden: inner size of the feed-forward maps.
          mixer: makes what mixes places, as ``mixer(features, rngs=)``.
          position: ``(positions) -> [..., T, D]``, added to the embeddings; a function,
            or a class of modules made with ``features=, rngs=``. None adds nothing.
          padding: a token that fills rows up: mixers see a mask of keys that hides it,
            and the mean leaves it out. None hides nothing, and mixers see no mask.
          activation: of the feed-forward maps.
          dropout_rate: of the embeddings and of all that a block adds.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no classes, tokens or layers.
        """
        if min(classes, vocabulary, layers) < 1:
            raise ValueError(
                "classes, vocabulary and layers must be at least 1, got "
                f"{classes}, {vocabulary}, {layers}"
            )
        self.padding, self.dropout_rate = padding, dropout_rate
        self.embedding = nnx.Param(
            jax.random.normal(rngs.params(), (vocabulary, features))
        )
        self.position = built(position, features=features, rngs=rngs)
        self.blocks = nnx.List(
            Block(
                features,
                mixer=mixer,
                feed_forward=partial(FeedForward, hidden=hidden, activation=activation),
                dropout_rate=dropout_rate,
                rngs=rngs,
            )
            for _ in range(layers)
        )
        self.norm = nnx.RMSNorm(features, rngs=rngs)
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def __call__(
        self,
        inputs: jax.Array,
        *,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns scores ``[B, C]`` float32 of `inputs`, ``[B, T]`` integers.

        Args:
          inputs: ``[B, T]`` in ``[0, V)``; of a row of padding alone the scores are
            those of the head's bias.
          train: whether to drop features; needs `rng` unless the rate is 0.
          rng: a key, read in training alone.

        Raises:
          ValueError: if `inputs` is not ``[B, T]``, or training lacks its key.
        """
        if inputs.ndim != 2:
            raise ValueError(f"inputs must be [B, T], got {inputs.shape}")
        if train and self.dropout_rate > 0.0 and rng is None:
            raise ValueError("training with dropout needs a key: rng=None was given")
        count = 1 + len(self.blocks)
        drops = train and rng is not None
        keys = iter(jax.random.split(rng, count) if drops else [None] * count)
        positions = jnp.arange(inputs.shape[1])
        stream = self.embedding[...][inputs]
        if self.position is not None:
            added = self.position(positions)
            stream = stream + jnp.expand_dims(added, range(stream.ndim - added.ndim))
        stream = dropout(stream, rate=self.dropout_rate, rng=next(keys))
        kept = None if self.padding is None else inputs != self.padding
        mask = None if kept is None else kept[:, None, None, :]
        for block in self.blocks:
            stream = block(stream, mask, positions=positions, rng=next(keys))
        stream = self.norm(stream).astype(jnp.float32)
        if kept is None:
            mean = jnp.mean(stream, axis=1)
        else:
            total = jnp.sum(jnp.where(kept[..., None], stream, 0.0), axis=1)
            mean = total / jnp.maximum(jnp.sum(kept, axis=1, keepdims=True), 1)
        return self.head(mean)
