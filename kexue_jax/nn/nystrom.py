"""The convolution that goes with Nystrom attention, beside an attention and alone.

They are named in a config where an attention function could stand; the model makes
them.
"""

from collections.abc import Callable

import jax
from flax import nnx

from kexue_jax.attention.nystrom import depthwise_convolution


def _check_whole(mask: jax.Array | None, is_causal: bool) -> None:
    if mask is not None or is_causal:
        raise ValueError(
            "a convolution sees neighbours on both sides and all of them: mask must be "
            f"None and is_causal False, got {mask}, {is_causal}"
        )


def _kernel(rngs: nnx.Rngs, heads: int, width: int) -> nnx.Param:
    """Draws ``[N, W]`` of which a sum over W has deviation 1."""
    drawn = jax.random.normal(rngs.params(), (heads, width))
    return nnx.Param(width**-0.5 * drawn)


class Shortcut(nnx.Module):
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
        """`width` is W, odd: how many places a kernel reaches over, its own included.

        Raises:
          ValueError: if `width` is even or not positive.
        """
        del head_size  # all channels of a head share its kernel
        _check_width(width)
        self.attention = attention
        self.kernel = _kernel(rngs, heads, width)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``; masks and causality are refused."""
        _check_whole(mask, is_causal)
        near = depthwise_convolution(value, self.kernel[...])
        return self.attention(query, key, value) + near


class ConvolutionAlone(nnx.Module):
    """The convolution of `Shortcut` without any attention, as a control."""

    def __init__(self, *, heads: int, head_size: int, width: int = 33, rngs: nnx.Rngs):
        """`width` is W, odd, as in `Shortcut`.

        Raises:
          ValueError: if `width` is even or not positive.
        """
        del head_size  # all channels of a head share its kernel
        _check_width(width)
        self.kernel = _kernel(rngs, heads, width)

    def __call__(
        self,
        query: jax.Array,
        key: jax.Array,
        value: jax.Array,
        mask: jax.Array | None = None,
        *,
        is_causal: bool = False,
    ) -> jax.Array:
        """Returns ``[B, T, N, V]``, whatever the queries and keys are."""
        del query, key
        _check_whole(mask, is_causal)
        return depthwise_convolution(value, self.kernel[...])


def _check_width(width: int) -> None:
    if width < 1 or width % 2 == 0:
        raise ValueError(f"width must be odd and positive, got {width}")
