"""Attention with relative positions that have parameters: Shaw, XL and DeBERTa.

They are named in a config where an attention function could stand; the model makes
them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.deberta import deberta_attention
from kexue_jax.attention.relative_shift import relative_distances
from kexue_jax.attention.shaw import shaw_attention
from kexue_jax.attention.transformer_xl import transformer_xl_attention
from kexue_jax.position.sinusoidal import sinusoidal, sinusoidal_halves


def _drawn(rngs: nnx.Rngs, *shape: int, scale: float = 0.02) -> nnx.Param:
    return nnx.Param(scale * jax.random.normal(rngs.params(), shape))


class ShawAttention(nnx.Module):
    """`shaw_attention` with tables of its own."""

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        clip: int = 16,
        values: bool = True,
        rngs: nnx.Rngs,
    ):
        """Distances beyond `clip` are as `clip`; `values` asks for the second table."""
        del heads  # they share the tables
        rows = 2 * clip + 1
        self.key_table = _drawn(rngs, rows, head_size)
        self.value_table = _drawn(rngs, rows, head_size) if values else None

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``."""
        table = None if self.value_table is None else self.value_table[...]
        return shaw_attention(
            query,
            key,
            value,
            mask,
            is_causal=is_causal,
            key_table=self.key_table[...],
            value_table=table,
        )


class NezhaAttention(nnx.Module):
    """`shaw_attention` whose rows are sinusoids, for keys and values.

    They are of a row's number, which is the distance and `clip`, not of the distance as
    in the paper: so the published weights were trained. There are no parameters.
    Source: Wei et al., https://arxiv.org/abs/1909.00204
    """

    def __init__(self, *, heads: int, head_size: int, clip: int = 64, rngs: nnx.Rngs):
        """Distances beyond `clip` are as `clip`; nothing is drawn.

        Raises:
          ValueError: if `head_size` is odd.
        """
        del heads, rngs  # they share the rows, and nothing is drawn
        self.head_size, self.clip = head_size, clip
        sinusoidal(jnp.arange(1), size=head_size)  # refuses an odd size

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``."""
        numbers = jnp.arange(2 * self.clip, -1, -1)  # key minus query, and clip
        rows = sinusoidal(numbers, size=self.head_size).astype(query.dtype)
        return shaw_attention(
            query,
            key,
            value,
            mask,
            is_causal=is_causal,
            key_table=rows,
            value_table=rows,
        )


class TransformerXLAttention(nnx.Module):
    """`transformer_xl_attention` with biases and a projection of distances."""

    def __init__(self, *, heads: int, head_size: int, rngs: nnx.Rngs):
        """The sinusoid of a distance has N H features and is projected to heads."""
        self.content_bias = nnx.Param(jnp.zeros((heads, head_size)))
        self.position_bias = nnx.Param(jnp.zeros((heads, head_size)))
        size = heads * head_size
        self.relative = _drawn(rngs, size, heads, head_size, scale=size**-0.5)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``."""
        distances = relative_distances(query.shape[1], key.shape[1])
        kernel = self.relative[...]
        rows = sinusoidal_halves(distances, size=kernel.shape[0]).astype(kernel.dtype)
        return transformer_xl_attention(
            query,
            key,
            value,
            mask,
            is_causal=is_causal,
            content_bias=self.content_bias[...],
            position_bias=self.position_bias[...],
            relative_key=jnp.einsum("ld,dnh->lnh", rows, kernel),
        )


class DebertaAttention(nnx.Module):
    """`deberta_attention`, or its released form, with tables of its own.

    The tables stand after the projections of keys and queries, so there is nothing
    that layers could share.
    """

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        reach: int = 64,
        attention: Callable[..., jax.Array] = deberta_attention,
        rngs: nnx.Rngs,
    ):
        """Distances from -`reach` to `reach` - 1 have rows, those beyond the last."""
        self.attention = attention
        self.relative_key = _drawn(rngs, 2 * reach, heads, head_size)
        self.relative_query = _drawn(rngs, 2 * reach, heads, head_size)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``."""
        return self.attention(
            query,
            key,
            value,
            mask,
            is_causal=is_causal,
            relative_key=self.relative_key[...],
            relative_query=self.relative_query[...],
        )
