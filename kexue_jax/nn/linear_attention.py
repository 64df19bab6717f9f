"""Linear attention as a mixer: trained in chunks, decoded with a constant state."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.feature_maps import elu_plus_one
from kexue_jax.attention.linear import (
    linear_attention,
    linear_attention_init,
    linear_attention_step,
)
from kexue_jax.attention.performer import orthogonal_projection, positive_features
from kexue_jax.nn.attention import LECUN_NORMAL, Heads, built


class Drawn(nnx.Variable):
    """Random numbers that are part of a model and not trained."""


class RandomFeatures(nnx.Module):
    """Features of FAVOR+ with a projection that is drawn once."""

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        features: int = 256,
        kind: Callable[..., Any] = positive_features,
        projection: Callable[..., jax.Array] = orthogonal_projection,
        rngs: nnx.Rngs,
    ):
        """`features` random directions, drawn by `projection`, for all heads alike."""
        del heads  # they share the projection
        self.kind = kind
        drawn = projection(rngs.params(), features=features, head_size=head_size)
        self.projection = Drawn(drawn)

    def __call__(self, features: jax.Array) -> Any:
        """Returns what `kind` makes of ``[..., H]``."""
        return self.kind(features, projection=self.projection[...])


class LinearSelfAttention(Heads):
    """Self-attention by products of features, in linear time.

    Its `step` carries sums over all keys so far: memory and time do not grow with the
    number of places, and there is no greatest length.
    """

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        feature_map: Callable[..., Any] = elu_plus_one,
        scale: float = 1.0,
        rotate: Callable[..., jax.Array] | None = None,
        qk_norm: bool = False,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the projections and the features.

        Args:
          features, heads, head_size, qk_norm, output_init: of `Heads`.
          feature_map: from ``[..., H]`` to features, or a class of modules that do so,
            such as `RandomFeatures`.
          scale: queries and keys are multiplied by its root; ``1 / sqrt(H)`` where the
            features imitate softmax attention.
          rotate: such as `rotary`; turns the features in the numerator.
          rngs: where the initial weights come from; it is not kept.
        """
        super().__init__(
            features,
            heads=heads,
            head_size=head_size,
            qk_norm=qk_norm,
            output_init=output_init,
            rngs=rngs,
        )
        sizes = dict(heads=heads, head_size=head_size, rngs=rngs)
        self.feature_map = built(feature_map, **sizes)
        self.scale, self.rotate = scale, rotate

    def _projected(self, inputs):
        return self.queries(inputs), *self.keys_and_values(inputs)

    def _options(self) -> dict[str, Any]:
        return dict(feature_map=self.feature_map, scale=self.scale, rotate=self.rotate)

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]`` for `inputs` ``[B, T, D]``.

        Args:
          inputs: ``[B, T, D]``.
          mask: of keys, bool ``[B or 1, N or 1, 1, T]``; True keeps a key.
          is_causal: whether a place sees itself and those before alone.
          positions: must be None where `rotate` turns features, which it does at
            0, 1, 2, ...; without it nothing depends on them.

        Raises:
          ValueError: if there are `positions` that `rotate` would not see.
        """
        if positions is not None and self.rotate is not None:
            raise ValueError(
                "features are rotated at 0, 1, 2, ...: positions must be None, "
                f"got an array of shape {positions.shape}"
            )
        return self.joined(
            linear_attention(
                *self._projected(inputs), mask, is_causal=is_causal, **self._options()
            )
        )

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Any:
        """Returns a `LinearState` before the first place, for any `length`."""
        del length, dtype  # sums are float32 and know no greatest length
        return linear_attention_init(
            batch=batch,
            heads=self.heads,
            head_size=self.head_size,
            feature_map=self.feature_map,
        )

    def step(self, inputs: jax.Array, cache: Any) -> tuple[jax.Array, Any]:
        """Returns what the whole call gives at the next places, and the state.

        Args:
          inputs: ``[B, T, D]``, the T places that follow.
          cache: a `LinearState`, of `empty_cache` or the step before.
        """
        step = functools.partial(linear_attention_step, cache, **self._options())
        cache, mixed = step(*self._projected(inputs))
        return self.joined(mixed), cache
