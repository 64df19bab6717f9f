"""Multi-head attention as a module: projections around any attention function."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.softmax import softmax_attention

LECUN_NORMAL = nnx.initializers.lecun_normal()  # as in nnx.Linear


class SelfAttention(nnx.Module):
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
        attention: Callable[..., jax.Array] = softmax_attention,
        position: Callable[..., jax.Array] | None = None,
        qk_norm: bool = False,
        output_init: Callable[..., jax.Array] = LECUN_NORMAL,
        rngs: nnx.Rngs,
    ):
        """Makes four projections without biases.

        Args:
          features: D, size of the input and of the output.
          heads, head_size: N and H; their product need not be D.
          attention: ``(query, key, value, mask) -> output`` on ``[B, T, N, H]``.
          position: ``(features, positions) -> features``, applied to queries and keys;
            None leaves them as they are.
          qk_norm: whether queries and keys are divided by their root mean square, each
            head alone and before `position`, so that scores cannot grow with weights.
          output_init: of the last projection; zeros let the module begin as zero.
          rngs: where the initial weights come from; it is not kept.
        """
        inner = heads * head_size
        self.heads, self.attention, self.position = heads, attention, position
        self.query = nnx.Linear(features, inner, use_bias=False, rngs=rngs)
        self.key = nnx.Linear(features, inner, use_bias=False, rngs=rngs)
        self.value = nnx.Linear(features, inner, use_bias=False, rngs=rngs)
        self.output = nnx.Linear(
            inner, features, use_bias=False, kernel_init=output_init, rngs=rngs
        )
        self.qk_norm = (
            nnx.RMSNorm(head_size, use_scale=False, rngs=rngs) if qk_norm else None
        )

    def __call__(
        self,
        inputs: jax.Array,
        mask: jax.Array | None = None,
        *,
        positions: jax.Array | None = None,
    ) -> jax.Array:
        """Returns ``[B, T, D]`` for `inputs` ``[B, T, D]``.

        Args:
          inputs: ``[B, T, D]``.
          mask: bool, broadcastable to ``[B, N, T, T]``; True keeps a key.
          positions: ``[T]`` or ``[B, T]``; default 0, 1, 2, ...
        """
        batch, length, _ = inputs.shape

        def split(features):
            return features.reshape(batch, length, self.heads, -1)

        query, key = split(self.query(inputs)), split(self.key(inputs))
        value = split(self.value(inputs))
        if self.qk_norm is not None:
            query, key = self.qk_norm(query), self.qk_norm(key)
        if self.position is not None:
            positions = jnp.arange(length) if positions is None else positions
            query, key = self.position(query, positions), self.position(key, positions)
        mixed = self.attention(query, key, value, mask)
        return self.output(mixed.reshape(batch, length, -1))
