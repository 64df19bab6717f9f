"""Multi-head attention as a module: projections around any attention function."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.position.compatibility import check_compatible, has_own_positions

LECUN_NORMAL = nnx.initializers.lecun_normal()  # as in nnx.Linear


def built(technique: Any, **sizes: Any) -> Any:
    """Returns a function as it is, and makes a module of a class of modules.

    So a technique that has parameters is named in a config just as one that has none:
    both are called in the same way afterwards.

    Args:
      technique: a function, a class of `nnx.Module`, or a partial of either.
      sizes: what such a class is called with, such as ``heads`` and ``rngs``.
    """
    inner = technique.func if isinstance(technique, partial) else technique
    is_class = inspect.isclass(inner) and issubclass(inner, nnx.Module)
    return technique(**sizes) if is_class else technique


class Cache(NamedTuple):
    """Keys and values of the places before, for decoding.

    `key` is ``[B, L, K, H]`` and `value` ``[B, L, K, V]``, L the greatest length. They
    are filled from the end, so that the last key stands where every causal attention
    expects it; `length` is a scalar int32, how many places there have been.
    """

    key: jax.Array
    value: jax.Array
    length: jax.Array


class Heads(nnx.Module):
    """Projections of a stream to queries, keys and values of heads, and back to it."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        key_heads: int | None = None,
        qk_norm: bool = False,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes four projections without biases.

        Args:
          features: D, size of the stream.
          heads, head_size: N and H; their product need not be D.
          key_heads: K, heads of keys and values, each shared by N / K heads of queries;
            default N.
          qk_norm: whether queries and keys are divided by their root mean square, each
            head alone, so that scores cannot grow with weights.
          output_init: of the last projection; zeros let the module begin as zero.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if the heads do not divide.
        """
        self.heads, self.head_size = heads, head_size
        self.key_heads = heads if key_heads is None else key_heads
        if heads < 1 or self.key_heads < 1 or heads % self.key_heads:
            raise ValueError(f"key_heads must divide {heads} heads, got {key_heads}")
        inner, shared = heads * head_size, self.key_heads * head_size
        self.query = nnx.Linear(features, inner, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(features, shared, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(features, shared, use_bias=False, rngs=rngs)
        self.output = nnx.Linear(
            inner, features, use_bias=False, kernel_init=output_init, rngs=rngs
        )
        self.qk_norm = (
            nnx.RMSNorm(head_size, use_scale=False, rngs=rngs) if qk_norm else None
        )

    def _split(self, features):
        return features.reshape(*features.shape[:2], -1, self.head_size)

    def _normalised(self, features):
        return features if self.qk_norm is None else self.qk_norm(features)

    def queries(self, inputs: jax.Array) -> jax.Array:
        """Returns ``[B, T, N, H]`` of ``[B, T, D]``."""
        return self._normalised(self._split(self.query(inputs)))

    def keys_and_values(self, inputs: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns two arrays ``[B, S, K, H]`` of ``[B, S, D]``."""
        key, value = self._split(self.key(inputs)), self._split(self.value(inputs))
        return self._normalised(key), value

    def joined(self, mixed: jax.Array) -> jax.Array:
        """Returns ``[B, T, D]`` of ``[B, T, N, H]``."""
        return self.output(mixed.reshape(*mixed.shape[:2], -1))


class SelfAttention(Heads):
    """Attention of a sequence to itself.

    The attention function and the position function are arguments, so that a variant
    of either is a line of a config and no new module.
    """

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        key_heads: int | None = None,
        attention: Callable[..., Any] = softmax_attention,
        position: Callable[..., Any] | None = None,
        bias: Callable[..., Any] | None = None,
        qk_norm: bool = False,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the projections and what is between them.

        Each of `attention`, `position` and `bias` may also be a class of modules that
        are called in the same way; it is made with ``heads=, head_size=, rngs=``.

        Args:
          features, heads, head_size, key_heads, qk_norm, output_init: of `Heads`. Not
            every attention function takes fewer heads of keys.
          attention: ``(query, key, value, mask, *, is_causal) -> output``; one that
            also takes ``query_positions`` and ``key_positions`` is given them.
          position: ``(features, positions) -> features``, applied to queries and keys;
            None leaves them as they are.
          bias: ``(query_positions, key_positions) -> [B or 1, N, T, S]``, added to the
            scores by an attention function that takes ``bias``.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if the heads do not divide, or `attention` cannot honour the
            position or the bias.
        """
        super().__init__(
            features,
            heads=heads,
            head_size=head_size,
            key_heads=key_heads,
            qk_norm=qk_norm,
            output_init=output_init,
            rngs=rngs,
        )
        sizes = dict(heads=heads, head_size=head_size, rngs=rngs)
        self.attention = built(attention, **sizes)
        self.position = built(position, **sizes)
        self.bias = built(bias, **sizes)
        takes = inspect.signature(self.attention).parameters
        self.counts_places = has_own_positions(attention)
        self.takes_positions = {"query_positions", "key_positions"} <= set(takes)
        for technique in (position, bias):
            if technique is not None:
                check_compatible(technique, attention)
        if bias is not None and "bias" not in takes:
            raise ValueError(f"attention {attention!r} takes no bias, got {bias!r}")

    def _projected(self, inputs, positions):
        """Query ``[B, T, N, H]``, key and value ``[B, T, K, H]`` of `inputs`."""
        query, (key, value) = self.queries(inputs), self.keys_and_values(inputs)
        if self.position is not None:
            query, key = self.position(query, positions), self.position(key, positions)
        return query, key, value

    def _mixed(self, projected, mask, is_causal, query_positions, key_positions):
        options: dict[str, Any] = {"is_causal": is_causal}
        if self.bias is not None:
            options["bias"] = self.bias(query_positions, key_positions)
        if self.takes_positions:
            options["query_positions"] = query_positions
            options["key_positions"] = key_positions
        return self.joined(self.attention(*projected, mask, **options))

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
          mask: bool, broadcastable to ``[B, N, T, T]``; True keeps a key.
          is_causal: whether a place sees itself and those before alone.
          positions: ``[T]`` or ``[B, T]``; default 0, 1, 2, ...

        Raises:
          ValueError: if there are `positions` and `attention` counts them itself.
        """
        if positions is not None and self.counts_places:
            raise ValueError(
                f"attention {self.attention!r} counts distances itself: positions must "
                f"be None, got an array of shape {positions.shape}"
            )
        if positions is None:
            positions = jnp.arange(inputs.shape[1])
        projected = self._projected(inputs, positions)
        return self._mixed(projected, mask, is_causal, positions, positions)

    def empty_cache(self, batch: int, length: int, dtype: Any = jnp.float32) -> Cache:
        """Returns a cache for sequences of at most `length` places."""
        shape = (batch, length, self.key_heads, self.head_size)
        return Cache(*jnp.zeros((2, *shape), dtype), jnp.zeros((), jnp.int32))

    def step(self, inputs: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """Returns what the whole call gives at the next places, and the cache.

        Args:
          inputs: ``[B, T, D]``, the T places that follow those in the cache, T at most
            L. Where there is no more room the oldest places are forgotten.
          cache: of `empty_cache` or the step before.

        Returns:
          ``[B, T, D]``, each place seeing itself and those before; and the cache.

        Raises:
          ValueError: if T exceeds L.
        """
        steps, room = inputs.shape[1], cache.key.shape[1]
        if steps > room:
            raise ValueError(
                f"the cache has room for {room} places, got {steps} at once"
            )
        total = cache.length + steps
        query_positions = cache.length + jnp.arange(steps)
        key_positions = total - room + jnp.arange(room)
        query, *new = self._projected(inputs, query_positions)
        key, value = (
            jnp.concatenate([old[:, steps:], now.astype(old.dtype)], axis=1)
            for old, now in zip(cache[:2], new, strict=True)
        )
        filled = (key_positions >= 0)[None, None, None]
        mixed = self._mixed(
            (query, key, value), filled, True, query_positions, key_positions
        )
        return mixed, Cache(key, value, total)
