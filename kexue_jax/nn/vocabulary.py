"""Where tokens come in as vectors and go out as scores."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class Vocabulary(nnx.Module):
    """A vector for each token, and scores by the same vectors or by others."""

    def __init__(
        self,
        vocabulary: int,
        features: int,
        *,
        tied: bool = True,
        output_init: Callable[..., jax.Array] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes tables ``[V, D]`` of deviation ``1 / sqrt(D)``.

        Args:
          vocabulary: V, how many tokens there are.
          features: D.
          tied: whether the scores use the table of the tokens.
          output_init: of the scores' own table.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no tokens.
        """
        if vocabulary < 1:
            raise ValueError(f"vocabulary must be at least 1, got {vocabulary}")
        narrow = nnx.initializers.normal(features**-0.5)
        shape, own = (vocabulary, features), output_init or narrow
        self.scale = features**0.5
        self.embedding = nnx.Param(narrow(rngs.params(), shape))
        self.output = None if tied else nnx.Param(own(rngs.params(), shape))

    def embed(
        self, tokens: jax.Array, position: Any = None, positions: Any = None
    ) -> jax.Array:
        """Returns ``[B, T, D]``, vectors with entries of about 1, for ``[B, T]``.

        Args:
          tokens: integers in ``[0, V)``.
          position: from positions to ``[..., T, D]``, which is added; None adds none.
          positions: ``[T]`` or ``[B, T]``; None is 0, 1, 2, ...
        """
        stream = self.embedding[...][tokens] * self.scale
        if position is None:
            return stream
        places = jnp.arange(tokens.shape[1]) if positions is None else positions
        added = position(places)
        return stream + jnp.expand_dims(added, range(stream.ndim - added.ndim))

    def scores(self, stream: jax.Array) -> jax.Array:
        """Returns float32 scores ``[B, T, V]`` of every token for ``[B, T, D]``."""
        table = (self.embedding if self.output is None else self.output)[...]
        return jnp.einsum(
            "btd,vd->btv", stream, table, preferred_element_type=jnp.float32
        )
