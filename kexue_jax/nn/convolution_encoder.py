"""An encoder that sees a few tokens on either side, and nothing of places."""

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms.activations import gelu


class ConvolutionEncoder(nnx.Module):
    """Embeddings and convolutions: a state depends on what is near, and not on where.

    So what only positions can tell is told by nothing in it.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        features: int,
        layers: int = 1,
        width: int = 3,
        rngs: nnx.Rngs,
    ):
        """Makes the layers.

        Args:
          vocabulary: V, how many tokens there are.
          features: D, of the states.
          layers: how many convolutions; each adds to what it reads, but the first.
          width: tokens that each sees, odd; beyond a text's ends are zeros.
          rngs: draws the weights.

        Raises:
          ValueError: if there are no layers, or the width is even.
        """
        if layers < 1 or width < 1 or width % 2 == 0:
            raise ValueError(
                f"layers must be at least 1 and width odd, got {layers} and {width}"
            )
        self.features = features
        self.tokens = nnx.Embed(vocabulary, features, rngs=rngs)
        self.convolutions = nnx.List(
            nnx.Conv(features, features, (width,), rngs=rngs) for _ in range(layers)
        )

    def __call__(
        self,
        tokens: jax.Array,
        *,
        kept: jax.Array,
        offset: jax.Array | None = None,
        train: bool = False,
        rng: jax.Array | None = None,
    ) -> jax.Array:
        """Returns states ``[B, T, D]`` of tokens ``[B, T]``.

        Args:
          tokens: integers in ``[0, V)``.
          kept: bool ``[B, T]``, True for a token; padding is as zeros.
          train, rng: not used, as nothing is dropped.
          offset: ``[B, T, D]``, added to the vectors of tokens.
        """
        del train, rng  # it drops nothing
        stream = self.tokens(tokens)
        stream = stream if offset is None else stream + offset
        for number, convolution in enumerate(self.convolutions):
            seen = jnp.where(kept[..., None], stream, 0.0)
            found = gelu(convolution(seen))
            stream = stream + found if number else found
        return stream
