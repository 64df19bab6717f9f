"""Attention of a sequence to another one."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention
from kexue_jax.nn.attention import LECUN_NORMAL, Heads, built
from kexue_jax.position.compatibility import has_own_positions

POSITIONS = {"query_positions", "key_positions"}


class CrossAttention(Heads):
    """Attention to a memory, whose keys and values are made once for all steps."""

    def __init__(
        self,
        features: int,
        *,
        heads: int,
        head_size: int,
        key_heads: int | None = None,
        attention: Callable[..., Any] = softmax_attention,
        qk_norm: bool = False,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes the projections.

        Args:
          features, heads, head_size, key_heads, qk_norm, output_init: of `Heads`.
          attention: ``(query, key, value, mask) -> output``, or a class of modules
            that are called so, made with ``heads=, head_size=, rngs=``.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if `attention` needs positions: places of two sequences have no
            distance.
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
        self.attention = built(attention, heads=heads, head_size=head_size, rngs=rngs)
        takes = set(inspect.signature(self.attention).parameters)
        if takes >= POSITIONS or has_own_positions(attention):
            raise ValueError(
                f"attention {attention!r} has relative positions, and places of two "
                "sequences have no distance"
            )

    def remembered(self, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the keys and values ``[B, S, K, H]`` of a memory ``[B, S, D]``."""
        return self.keys_and_values(memory)

    def __call__(
        self,
        inputs: jax.Array,
        remembered: tuple[jax.Array, jax.Array],
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]`` for `inputs` ``[B, T, D]``.

        Args:
          inputs: ``[B, T, D]``.
          remembered: what the method of that name made of the memory.
          mask: bool, broadcastable to ``[B, N, T, S]``; True keeps a key. Zeros are
            added to a place that sees none.
        """
        mixed = self.attention(self.queries(inputs), *remembered, mask)
        return self.joined(mixed)
