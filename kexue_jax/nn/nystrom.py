"""The convolution that goes with Nystrom attention, beside an attention and alone.

They are named in a config where an attention function could stand; the model makes
them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.attention.nystrom import depthwise_convolution
from kexue_jax.attention.protocol import key_mask

REASON = "a convolution sees the same values whatever the query"


class ConvolutionAlone(nnx.Module):
    """A trained convolution of the values without any attention, as a control."""

    def __init__(self, *, heads: int, head_size: int, width: int = 33, rngs: nnx.Rngs):
        """Draws ``[N, W]``; W is `width`, odd, and 1 lets no place see another.

        Raises:
          ValueError: if `width` is even or not positive.
        """
        del head_size  # all channels of a head share its kernel
        if width < 1 or width % 2 == 0:
            raise ValueError(f"width must be odd and positive, got {width}")
        drawn = jax.random.normal(rngs.params(), (heads, width))
        self.kernel = nnx.Param(width**-0.5 * drawn)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``, whatever the queries and keys are.

        Raises:
          ValueError: if `mask` tells queries apart, or `is_causal` is True.
        """
        del query
        if is_causal:
            raise ValueError(
                "is_causal must be False: a convolution sees both sides; got True"
            )
        kept = key_mask(mask, key, reason=REASON)
        if kept is not None:
            value = jnp.where(jnp.swapaxes(kept, 1, 2)[..., None], value, 0.0)
        return depthwise_convolution(value, self.kernel[...])


class Shortcut(ConvolutionAlone):
    """Any attention function, plus a trained convolution of the values."""

    def __init__(
        self,
        *,
        heads: int,
        head_size: int,
        attention: Callable[..., jax.Array],
        width: int = 33,
        rngs: nnx.Rngs,
    ):
        """`attention` is a function; `width` as in `ConvolutionAlone`."""
        super().__init__(heads=heads, head_size=head_size, width=width, rngs=rngs)
        self.attention = attention

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``.

        Raises:
          ValueError: as `ConvolutionAlone` or `attention` does.
        """
        near = super().__call__(query, key, value, mask, is_causal=is_causal)
        return self.attention(query, key, value, mask) + near
