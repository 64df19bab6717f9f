"""Mixers whose scores are made without products of tokens, and mixtures of scores."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention import synthesizer
from kexue_jax.attention.scored import scored_attention
from kexue_jax.nn.attention import LECUN_NORMAL


class Frozen(nnx.Variable):
    """What is drawn once and neither trained nor decayed."""


def _normal(rngs: nnx.Rngs, shape: Sequence[int], scale: float) -> jax.Array:
    return scale * jax.random.normal(rngs.params(), tuple(shape))


class RandomScores(nnx.Module):
    """A trained score for each pair of places."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        """Draws ``[N, length, length]`` with deviation `scale`."""
        del features  # the scores do not depend on what stands at a place
        self.table = nnx.Param(_normal(rngs, (heads, length, length), scale))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[1, N, T, T]`` for ``[B, T, D]``."""
        return synthesizer.random_scores(self.table[...], inputs.shape[1])


class FixedRandomScores(nnx.Module):
    """A score for each pair of places that is drawn once and never trained."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        """Draws ``[N, length, length]`` with deviation `scale`."""
        del features  # the scores do not depend on what stands at a place
        self.table = Frozen(_normal(rngs, (heads, length, length), scale))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[1, N, T, T]`` for ``[B, T, D]``."""
        return synthesizer.random_scores(self.table[...], inputs.shape[1])


class FactorizedRandomScores(nnx.Module):
    """Trained scores of pairs of places, of low rank."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        rank: int = 8,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        """Draws two ``[N, length, rank]`` whose product has deviation `scale`."""
        del features  # the scores do not depend on what stands at a place
        each = (scale / rank**0.5) ** 0.5
        shape = (heads, length, rank)
        self.left = nnx.Param(_normal(rngs, shape, each))
        self.right = nnx.Param(_normal(rngs, shape, each))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[1, N, T, T]`` for ``[B, T, D]``."""
        return synthesizer.factorized_random_scores(
            self.left[...], self.right[...], inputs.shape[1]
        )


class DenseScores(nnx.Module):
    """Scores of all places, predicted from one token by a perceptron."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        hidden: int | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes a perceptron for each head; `hidden` is by default ``D / N``."""
        inner = max(1, features // heads) if hidden is None else hidden
        self.hidden_kernel = nnx.Param(
            _normal(rngs, (heads, features, inner), (2.0 / features) ** 0.5)
        )
        self.hidden_bias = nnx.Param(jnp.zeros((heads, inner)))
        self.output_kernel = nnx.Param(
            _normal(rngs, (heads, inner, length), inner**-0.5)
        )
        self.output_bias = nnx.Param(jnp.zeros((heads, length)))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[B, N, T, T]`` for ``[B, T, D]``."""
        return synthesizer.dense_scores(
            inputs,
            self.hidden_kernel[...],
            self.hidden_bias[...],
            self.output_kernel[...],
            self.output_bias[...],
        )


class FactorizedDenseScores(nnx.Module):
    """Scores of all places, an outer product of two short predictions."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        high: int | None = None,
        rngs: nnx.Rngs,
    ):
        """The factors have `high` (by default about the root) and the rest of `length`.

        Raises:
          ValueError: if `high` does not divide `length`.
        """
        if high is None:
            divisors = (n for n in range(int(length**0.5), 0, -1) if not length % n)
            high = next(divisors)
        if high < 1 or length % high:
            raise ValueError(f"high must divide the length {length}, got {high}")
        scale = features**-0.5
        self.high = nnx.Param(_normal(rngs, (heads, features, high), scale))
        low = (heads, features, length // high)
        self.low = nnx.Param(_normal(rngs, low, scale))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[B, N, T, T]`` for ``[B, T, D]``."""
        return synthesizer.factorized_dense_scores(
            inputs, self.high[...], self.low[...]
        )


class ProductScores(nnx.Module):
    """The usual scaled products of queries and keys, to be mixed with others."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        length: int,
        head_size: int | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes two projections; `length` is not needed, `head_size` is ``D / N``."""
        del length  # products know no greatest length
        self.heads = heads
        self.head_size = features // heads if head_size is None else head_size
        make = partial(nnx.Linear, features, heads * self.head_size, use_bias=False)
        self.query, self.key = make(rngs=rngs), make(rngs=rngs)

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[B, N, T, T]`` float32 for ``[B, T, D]``."""
        shape = (*inputs.shape[:2], self.heads, self.head_size)
        query, key = (make(inputs).reshape(shape) for make in (self.query, self.key))
        scores = jnp.einsum(
            "btnh,bsnh->bnts", query, key, preferred_element_type=jnp.float32
        )
        return scores * self.head_size**-0.5


class Synthesizer(nnx.Module):
    """A mixer of places by one kind of scores, or by a trained mixture of several."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        length: int,
        scores: Sequence[Callable[..., Any]],
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the projections of values and outputs, and the scores.

        Args:
          features: D, size of the input and of the output.
          heads, head_size: N and the size of a head's values.
          length: L, the greatest length; longer inputs are refused.
          scores: kinds of scores, each called as
            ``make(features, heads=, length=, rngs=)``.
          output_init: of the last projection.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no scores.
        """
        if not scores:
            raise ValueError("scores must name at least one kind, got none")
        self.heads = heads
        inner = heads * head_size
        self.value = nnx.Linear(features, inner, use_bias=False, rngs=rngs)
        self.output = nnx.Linear(
            inner, features, use_bias=False, kernel_init=output_init, rngs=rngs
        )
        self.scores = nnx.List(
            make(features, heads=heads, length=length, rngs=rngs) for make in scores
        )
        several = len(scores) > 1
        self.mixture = nnx.Param(jnp.zeros(len(scores))) if several else None

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]`` for `inputs` ``[B, T, D]``, T at most L.

        Args:
          inputs: ``[B, T, D]``.
          mask: bool, broadcastable to ``[B, N, T, T]``; True keeps a key.
          is_causal: whether a place sees itself and those before alone.
          positions: must be None, as scores belong to places.

        Raises:
          ValueError: if there are `positions`, or T exceeds L.
        """
        if positions is not None:
            raise ValueError(
                "scores of a Synthesizer belong to places: positions must be None, "
                f"got an array of shape {positions.shape}"
            )
        parts = [make(inputs) for make in self.scores]
        whole = parts[0]
        if self.mixture is not None:
            whole = synthesizer.mixed_scores(parts, self.mixture[...])
        value = self.value(inputs).reshape(*inputs.shape[:2], self.heads, -1)
        mixed = scored_attention(whole, value, mask, is_causal=is_causal)
        return self.output(mixed.reshape(*inputs.shape[:2], -1))
