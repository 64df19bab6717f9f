"""A convolution over embedded characters, and the largest answer of each filter."""

import jax
import jax.numpy as jnp
from flax import nnx


class ConvolutionClassifier(nnx.Module):
    """Embeddings, one convolution, the maximum over places, and a linear layer."""

    def __init__(
        self,
        classes: int,
        *,
        vocabulary: int,
        features: int = 64,
        filters: int = 128,
        width: int = 3,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ):
        """Makes the layers.

        Args:
          classes: C, of the output.
          vocabulary: V, tokens are below it; 0 is padding.
          features: of an embedding, in ``embed/embedding``.
          filters: of the convolution.
          width: characters that a filter sees.
          dropout: share of the maxima that is dropped in training.
          rngs: draws the weights.
        """
        self.embed = nnx.Embed(vocabulary, features, rngs=rngs)
        self.convolution = nnx.Conv(features, filters, (width,), rngs=rngs)
        self.head = nnx.Linear(filters, classes, rngs=rngs)
        self.dropout = dropout

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns scores ``[B, C]`` of tokens ``[B, T]``, 0 behind the end of a text.

        A text without any token has scores of zeros in every filter.
        """
        seen = (inputs != 0)[..., None]
        embedded = jnp.where(seen, self.embed(inputs), 0.0)
        found = jax.nn.relu(self.convolution(embedded))
        found = jnp.max(jnp.where(seen, found, 0.0), axis=1)
        if train and self.dropout and rng is not None:
            kept = jax.random.bernoulli(rng, 1.0 - self.dropout, found.shape)
            found = jnp.where(kept, found / (1.0 - self.dropout), 0.0)
        return self.head(found)
