"""Heads that score every span for every type: GlobalPointer and its lean form."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.global_pointer import (
    efficient_span_scores,
    kept_spans,
    span_scores,
)
from kexue_jax.algorithms.span_loss import efficient_span_loss, span_loss
from kexue_jax.nn.attention import built
from kexue_jax.position.rotary import rotary


class _Pointer(nnx.Module):
    """What both heads share: sizes, positions, and which spans there are."""

    def __init__(self, features, *, types, head_size, position, upper, rngs):
        if types < 1:
            raise ValueError(f"types must be at least 1, got {types}")
        self.features, self.types, self.upper = features, types, upper
        self.head_size = head_size
        heads = 1 if isinstance(self, EfficientGlobalPointer) else types
        self.position = built(position, heads=heads, head_size=head_size, rngs=rngs)

    def _turned(self, states):
        """Turns ``[B, T, N, H]`` by positions."""
        if self.position is None:
            return states
        return self.position(states, jnp.arange(states.shape[1]))

    def _kept(self, states, kept):
        """Checks the states, and returns which tokens are kept."""
        if states.ndim != 3 or states.shape[-1] != self.features:
            raise ValueError(
                f"states must be [B, T, {self.features}], got {states.shape}"
            )
        if kept is None:
            return jnp.ones(states.shape[:2], bool)
        if kept.dtype != jnp.bool_ or kept.shape != states.shape[:2]:
            raise ValueError(
                f"kept must be bool {states.shape[:2]}, got {kept.dtype} {kept.shape}"
            )
        return kept

    def _hidden(self, scores, kept):
        return jnp.where(kept_spans(kept, upper=self.upper), scores, -jnp.inf)


class GlobalPointer(_Pointer):
    """A query and a key of each type at each token: the scores are their products.

    Entities are the spans whose score is positive. They may lie within each other, and
    nothing is searched for: each span is decided alone.

    Source: https://kexue.fm/archives/8373
    """

    def __init__(
        self,
        features: int,
        *,
        types: int,
        head_size: int = 64,
        position: Callable[..., Any] | None = rotary,
        upper: bool = True,
        rngs: nnx.Rngs,
    ):
        """Makes one map, of ``2 C H (D + 1)`` parameters.

        Its features are those of type 0, queries and then keys, of type 1, and so on.

        Args:
          features: D, size of the states.
          types: C, how many types of spans there are.
          head_size: H, even for a position that pairs features.
          position: ``(features, positions) -> features``, applied to queries and keys,
            or a class of modules that are called so, made with ``heads=, head_size=,
            rngs=``. None: a score does not know how long its span is, which serves for
            links between entities and not for entities.
          upper: whether no span ends before it starts.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no types.
        """
        super().__init__(
            features,
            types=types,
            head_size=head_size,
            position=position,
            upper=upper,
            rngs=rngs,
        )
        self.projection = nnx.Linear(features, 2 * types * head_size, rngs=rngs)

    def queries_and_keys(self, states: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns two arrays ``[B, T, C, H]`` of ``[B, T, D]``, turned by positions."""
        # Flat, as the gradient of a kernel over two axes would copy all of its factors.
        pairs = self.projection(states.reshape(-1, self.features))
        pairs = pairs.reshape(*states.shape[:2], 2 * self.types, self.head_size)
        pairs = self._turned(pairs)
        return pairs[:, :, 0::2], pairs[:, :, 1::2]

    def __call__(self, states: jax.Array, kept: jax.Array | None = None) -> jax.Array:
        """Returns scores ``[B, C, T, T]`` float32 of spans, of starts and then ends.

        Args:
          states: ``[B, T, D]``, of an encoder.
          kept: bool ``[B, T]``; True keeps a token. None: all.

        Returns:
          ``[B, C, T, T]``; -inf where a token is not kept, or a span ends too early.

        Raises:
          ValueError: if the shapes disagree, or `kept` is not bool.
        """
        kept = self._kept(states, kept)
        return self._hidden(span_scores(*self.queries_and_keys(states)), kept)

    def loss(
        self, states: jax.Array, kept: jax.Array | None, positives: jax.Array
    ) -> jax.Array:
        """Returns the multi-label loss ``[B, C]`` float32, never holding all scores.

        Args:
          states, kept: of the call.
          positives: ``[B, C, K, 2]`` integers, starts and ends of gold spans, both
            included, and -1 where there is none.

        Raises:
          ValueError: if the shapes disagree, or a dtype is another.
        """
        kept = self._kept(states, kept)
        pairs = self.queries_and_keys(states)
        return span_loss(*pairs, positives, kept, upper=self.upper)


class EfficientGlobalPointer(_Pointer):
    """One query and one key at each token, and terms that tell the types.

    Source: https://kexue.fm/archives/8877, as its program has it: the terms read
      queries and keys before these are turned, and are halved.
    """

    def __init__(
        self,
        features: int,
        *,
        types: int,
        head_size: int = 64,
        position: Callable[..., Any] | None = rotary,
        upper: bool = True,
        rngs: nnx.Rngs,
    ):
        """Makes two maps, of ``2 H (D + 1) + 2 C (2 H + 1)`` parameters.

        The first gives queries as its even and keys as its odd features; the second, of
        all of them, the term of the end (even) and of the start (odd) of each type.

        Args:
          features, types, head_size, position, upper, rngs: of `GlobalPointer`; a class
            of positions is made with ``heads=1``.

        Raises:
          ValueError: if there are no types.
        """
        super().__init__(
            features,
            types=types,
            head_size=head_size,
            position=position,
            upper=upper,
            rngs=rngs,
        )
        self.projection = nnx.Linear(features, 2 * head_size, rngs=rngs)
        self.terms = nnx.Linear(2 * head_size, 2 * types, rngs=rngs)

    def queries_keys_and_terms(
        self, states: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Returns ``[B, T, H]``, twice, and ``[B, T, C]``: of starts and of ends."""
        pairs = self.projection(states.reshape(-1, self.features))  # flat, as above
        terms = 0.5 * self.terms(pairs).reshape(*states.shape[:2], -1)
        pairs = jnp.stack([pairs[..., 0::2], pairs[..., 1::2]], axis=1)
        pairs = self._turned(pairs.reshape(*states.shape[:2], 2, self.head_size))
        return pairs[:, :, 0], pairs[:, :, 1], terms[..., 1::2], terms[..., 0::2]

    def __call__(self, states: jax.Array, kept: jax.Array | None = None) -> jax.Array:
        """Returns scores ``[B, C, T, T]`` of spans, as `GlobalPointer` does."""
        kept = self._kept(states, kept)
        scores = efficient_span_scores(*self.queries_keys_and_terms(states))
        return self._hidden(scores, kept)

    def loss(
        self, states: jax.Array, kept: jax.Array | None, positives: jax.Array
    ) -> jax.Array:
        """Returns the multi-label loss ``[B, C]``, as `GlobalPointer.loss` does."""
        kept = self._kept(states, kept)
        parts = self.queries_keys_and_terms(states)
        return efficient_span_loss(*parts, positives, kept, upper=self.upper)
