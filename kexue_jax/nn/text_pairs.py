"""Models of pairs of texts: each read by itself, or both at once."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.nearest import cosine_similarity
from kexue_jax.algorithms.pooling import mean_of_tokens
from kexue_jax.nn.attention import SelfAttention, built
from kexue_jax.nn.blocks import Stack
from kexue_jax.nn.perceptron import Perceptron


class ReadPairs(NamedTuple):
    """What a model says of each pair.

    Attributes:
      similarity: ``[B]``, higher for texts nearer in meaning.
      first, second: ``[B, D]``, a vector for each text; None if they are read at once.
    """

    similarity: jax.Array
    first: jax.Array | None = None
    second: jax.Array | None = None


class Constant(nnx.Variable):
    """An array that is not trained."""


class MeanEncoder(nnx.Module):
    """The mean of vectors that stay as they are, and a perceptron on it."""

    def __init__(
        self,
        vectors: jax.Array,
        *,
        sizes: Sequence[int] = (256, 128),
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
        rngs: nnx.Rngs,
    ):
        """Makes an encoder.

        Args:
          vectors: ``[V, D]``, row 0 is that of padding.
          sizes: features of the layers; the last is the size of a text. Empty: the
            mean itself.
          activation: between layers.
          rngs: where the initial weights come from; it is not kept.
        """
        self.vectors = Constant(jnp.asarray(vectors, jnp.float32))
        self.features = sizes[-1] if sizes else vectors.shape[1]
        self.perceptron = (
            Perceptron([vectors.shape[1], *sizes], activation=activation, rngs=rngs)
            if sizes
            else None
        )

    def __call__(self, tokens: jax.Array, segments: jax.Array | None = None):
        """Returns ``[B, D]`` of tokens ``[B, T]``, 0 behind the end of a text.

        Raises:
          ValueError: if there are `segments`, which a mean cannot tell apart.
        """
        if segments is not None:
            raise ValueError("a mean cannot tell segments apart: segments must be None")
        mean = mean_of_tokens(self.vectors[...][tokens], tokens > 0)
        return mean if self.perceptron is None else self.perceptron(mean)


class StackEncoder(nnx.Module):
    """Blocks of attention over vectors that are trained, and a mean over places."""

    def __init__(
        self,
        vectors: jax.Array,
        *,
        features: int = 128,
        layers: int = 2,
        hidden: int = 256,
        segments: int = 2,
        mixer: Callable[..., nnx.Module] = SelfAttention,
        position: Callable[..., Any] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes an encoder.

        Args:
          vectors: ``[V, E]``, with which the vectors of tokens begin.
          features: D, to which they are mapped.
          layers: how many blocks.
          hidden: inner size of the feed-forward maps.
          segments: how many texts a row may hold.
          mixer: makes what mixes places, as ``mixer(features, output_init=, rngs=)``.
          position: as in `kexue_jax.nn.token_classifier.TokenClassifier`.
          rngs: where the initial weights come from; it is not kept.
        """
        self.features = features
        self.vectors = nnx.Param(jnp.asarray(vectors, jnp.float32))
        self.widen = nnx.Linear(vectors.shape[1], features, rngs=rngs)
        self.segments = nnx.Embed(segments, features, rngs=rngs)
        self.position = built(position, features=features, rngs=rngs)
        self.stack = Stack(
            features, layers=layers, hidden=hidden, mixer=mixer, rngs=rngs
        )

    def __call__(self, tokens: jax.Array, segments: jax.Array | None = None):
        """Returns ``[B, D]`` of tokens ``[B, T]``, 0 where there is none.

        Args:
          tokens: rows of the vectors.
          segments: ``[T]`` or ``[B, T]``, which text a place belongs to; None: one.
        """
        kept = tokens > 0
        stream = self.widen(self.vectors[...][tokens])
        if segments is not None:
            stream = stream + jnp.broadcast_to(self.segments(segments), stream.shape)
        if self.position is not None:
            stream = stream + self.position(jnp.arange(tokens.shape[1]))[None]
        return mean_of_tokens(self.stack(stream, kept[:, None, None, :]), kept)


class Towers(nnx.Module):
    """Each text is read by itself, and pairs are compared by the cosine.

    Args:
      vectors: ``[V, D]``, what the encoder begins with.
      encoder: called as ``encoder(vectors, rngs=)``.
    """

    def __init__(
        self, vectors: jax.Array, *, encoder: Callable[..., Any], rngs: nnx.Rngs
    ):
        self.encoder = encoder(vectors, rngs=rngs)

    def __call__(self, first: jax.Array, second: jax.Array) -> ReadPairs:
        """Returns what there is to say of pairs ``[B, T]`` and ``[B, T]``."""
        u, v = self.encoder(first), self.encoder(second)
        return ReadPairs(cosine_similarity(u, v), u, v)


class Joined(nnx.Module):
    """Both texts are read at once, one behind the other: interaction.

    Args:
      vectors, encoder: as in `Towers`; the encoder takes ``segments`` too.
    """

    def __init__(
        self, vectors: jax.Array, *, encoder: Callable[..., Any], rngs: nnx.Rngs
    ):
        self.encoder = encoder(vectors, rngs=rngs)
        self.head = nnx.Linear(self.encoder.features, 1, rngs=rngs)

    def __call__(self, first: jax.Array, second: jax.Array) -> ReadPairs:
        """Returns the similarity of pairs, any number, not a cosine."""
        row = jnp.concatenate([first, second], axis=1)
        segments = (jnp.arange(row.shape[1]) >= first.shape[1]).astype(jnp.int32)
        return ReadPairs(self.head(self.encoder(row, segments))[:, 0])
