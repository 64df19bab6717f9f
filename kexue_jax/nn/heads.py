"""What stands on a `Backbone`: scores of tokens, of classes, of places."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.backbone import NORMAL
from kexue_jax.nn.dropout import dropout, dropout_keys, training_key


class VocabularyHead(nnx.Module):
    """Scores of all tokens, by the vectors of the tokens or by its own."""

    def __init__(
        self,
        features: int,
        *,
        vocabulary: int,
        size: int | None = None,
        activation: Callable[[jax.Array], jax.Array] | None = None,
        norm: Callable[..., nnx.Module] | None = None,
        use_bias: bool = True,
        tied: bool = True,
        scale: float | None = None,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes what lies between the states and the scores.

        Args:
          features: D, of the states.
          vocabulary: V.
          size: E, of the vectors of tokens; None is D.
          activation: behind a map from D to E, as in BERT; without one there is a map
            only if `size` is given, and it has no bias.
          norm: behind it, called as ``norm(E, rngs=rngs)``; None has none.
          use_bias: whether each token has a number of its own.
          tied: whether the vectors are those of the embeddings.
          scale: of the states before the product; ``D ** -0.5`` in T5.
          kernel_init: of the map and the vectors.
          rngs: where the initial weights come from; it is not kept.
        """
        has_map = activation is not None or size is not None
        size = features if size is None else size
        self.activation, self.scale = activation, scale
        self.transform = (
            nnx.Linear(
                features,
                size,
                use_bias=activation is not None,
                kernel_init=kernel_init,
                rngs=rngs,
            )
            if has_map
            else None
        )
        self.norm = None if norm is None else norm(size, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros((vocabulary,))) if use_bias else None
        self.output = (
            None if tied else nnx.Param(kernel_init(rngs.params(), (vocabulary, size)))
        )

    def __call__(
        self, states: jax.Array, *, table: jax.Array, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns float32 ``[..., V]`` of states ``[..., D]`` and table ``[V, E]``."""
        del rng  # nothing is dropped here
        if self.transform is not None:
            states = self.transform(states)
        if self.activation is not None:
            states = self.activation(states)
        if self.norm is not None:
            states = self.norm(states)
        if self.scale is not None:
            states = states * self.scale
        table = table if self.output is None else self.output[...]
        scores = jnp.einsum(
            "...d,vd->...v", states, table, preferred_element_type=jnp.float32
        )
        if self.bias is None:
            return scores
        return scores + self.bias[...].reshape((1,) * (scores.ndim - 1) + (-1,))


class PooledHead(nnx.Module):
    """A map of the first place of a row, and perhaps scores of classes on it."""

    def __init__(
        self,
        features: int,
        *,
        classes: int | None = None,
        activation: Callable[[jax.Array], jax.Array] = jnp.tanh,
        dropout_rate: float = 0.0,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes a map from D to D and, with `classes`, one from there to C."""
        self.activation, self.dropout_rate = activation, dropout_rate
        self.pooler = nnx.Linear(features, features, kernel_init=kernel_init, rngs=rngs)
        self.scores = (
            None
            if classes is None
            else nnx.Linear(features, classes, kernel_init=kernel_init, rngs=rngs)
        )

    def __call__(
        self, states: jax.Array, *, table: Any = None, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns ``[B, D]`` or, with classes, float32 ``[B, C]`` of ``[B, T, D]``."""
        del table  # the vectors of tokens are not needed
        pooled = self.activation(self.pooler(states[:, 0]))
        if self.scores is None:
            return pooled
        pooled = dropout(pooled, rate=self.dropout_rate, rng=rng)
        return self.scores(pooled).astype(jnp.float32)


class PlaceHead(nnx.Module):
    """Scores of classes at each place: tags, or two of a span's begin and end."""

    def __init__(
        self,
        features: int,
        *,
        classes: int,
        dropout_rate: float = 0.0,
        kernel_init: Callable[..., jax.Array] = NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes a map from D to C."""
        self.dropout_rate = dropout_rate
        self.scores = nnx.Linear(features, classes, kernel_init=kernel_init, rngs=rngs)

    def __call__(
        self, states: jax.Array, *, table: Any = None, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns float32 ``[B, T, C]`` of states ``[B, T, D]``."""
        del table  # the vectors of tokens are not needed
        states = dropout(states, rate=self.dropout_rate, rng=rng)
        return self.scores(states).astype(jnp.float32)


class Headed(nnx.Module):
    """A backbone and a head on it."""

    def __init__(
        self,
        *,
        backbone: Callable[..., nnx.Module],
        head: Callable[..., nnx.Module],
        rngs: nnx.Rngs,
    ):
        """Makes both: ``backbone(rngs=rngs)`` and ``head(D, rngs=rngs)``."""
        self.backbone: Any = backbone(rngs=rngs)
        self.head = head(self.backbone.features, rngs=rngs)

    def __call__(
        self,
        tokens: jax.Array,
        *,
        places: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
        **options: Any,
    ) -> jax.Array:
        """Returns what the head makes of the states.

        Args:
          tokens: ``[B, T]`` integers.
          places: ``[B, M]`` integers; the head sees the states there alone, such as
            those of hidden tokens. None: all T.
          train, rng, options: of `Backbone.layers`.

        Raises:
          ValueError: if training drops features and `rng` is None.
        """
        rate = getattr(self.head, "dropout_rate", 0.0)
        first, second = dropout_keys(training_key(rng, train=train, rate=rate), 2)
        states = self.backbone(tokens, train=train, rng=first, **options)
        if places is not None:
            states = jnp.take_along_axis(states, places[..., None], axis=1)
        table = self.backbone.embeddings.tokens.embedding[...]
        return self.head(states, table=table, rng=second)

    def layers(self, tokens: jax.Array, **options: Any) -> tuple[jax.Array, ...]:
        """Returns what `Backbone.layers` does."""
        return self.backbone.layers(tokens, **options)

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Any:
        """Returns what `step` needs to begin with, for at most `length` places."""
        return self.backbone.empty_cache(batch, length, dtype)

    def step(self, tokens: jax.Array, cache: Any, **options: Any) -> tuple[Any, Any]:
        """Returns the head's answer at the next places, and the cache."""
        states, cache = self.backbone.step(tokens, cache, **options)
        table = self.backbone.embeddings.tokens.embedding[...]
        return self.head(states, table=table), cache
