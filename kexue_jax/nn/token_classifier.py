"""A classifier of rows of tokens: blocks, and a mean over places."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.attention import SelfAttention, built
from kexue_jax.nn.blocks import Stack
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key
from kexue_jax.nn.vocabulary import Vocabulary


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
          mixer: makes what mixes places, as ``mixer(features, output_init=, rngs=)``.
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
        if classes < 1:
            raise ValueError(f"classes must be at least 1, got {classes}")
        self.padding, self.dropout_rate = padding, dropout_rate
        self.vocabulary = Vocabulary(vocabulary, features, rngs=rngs)
        self.position = built(position, features=features, rngs=rngs)
        self.stack = Stack(
            features,
            layers=layers,
            hidden=hidden,
            mixer=mixer,
            activation=activation,
            dropout_rate=dropout_rate,
            rngs=rngs,
        )
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
        rng = training_key(rng, train=train, rate=self.dropout_rate)
        first, second = dropout_keys(rng, 2)
        kept = None if self.padding is None else inputs != self.padding
        mask = None if kept is None else kept[:, None, None, :]
        stream = self.vocabulary.embed(inputs, self.position)
        stream = dropout(stream, rate=self.dropout_rate, rng=first)
        stream = self.stack(stream, mask, rng=second).astype(jnp.float32)
        if kept is None:
            mean = jnp.mean(stream, axis=1)
        else:
            total = jnp.sum(jnp.where(kept[..., None], stream, 0.0), axis=1)
            mean = total / jnp.maximum(jnp.sum(kept, axis=1, keepdims=True), 1)
        return self.head(mean)
