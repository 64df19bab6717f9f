"""A classifier of bags of tokens: the mean of their vectors."""

import jax
import jax.numpy as jnp
from flax import nnx


class BagClassifier(nnx.Module):
    """Gives scores of classes to the mean vector of a row of tokens."""

    def __init__(
        self,
        classes: int,
        *,
        vocabulary: int,
        features: int,
        deviation: float = 0.05,
        rngs: nnx.Rngs,
    ):
        """Makes a table ``[V, D]`` and a linear head.

        Args:
          classes: C.
          vocabulary: V; tokens are below it, and token 0 only fills rows up.
          features: D.
          deviation: of the table's entries at first.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no classes or tokens.
        """
        if classes < 1 or vocabulary < 1:
            raise ValueError(
                f"classes and vocabulary must be at least 1, got {classes}, "
                f"{vocabulary}"
            )
        draw = nnx.initializers.normal(deviation)
        self.embedding = nnx.Param(draw(rngs.params(), (vocabulary, features)))
        self.head = nnx.Linear(features, classes, rngs=rngs)

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns scores ``[B, C]`` of tokens ``[B, T]``; a row of zeros has mean 0."""
        del train, rng  # nothing is random here
        seen = inputs[..., None] > 0
        vectors = jnp.where(seen, self.embedding[...][inputs], 0.0)
        count = jnp.maximum(jnp.sum(seen, axis=1), 1)
        return self.head(jnp.sum(vectors, axis=1) / count)
