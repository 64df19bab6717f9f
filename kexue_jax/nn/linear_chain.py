"""A linear-chain CRF on top of any encoder: the transitions, the loss, the decoding."""

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms import linear_chain
from kexue_jax.algorithms.tagging import AllowedTransitions


class LinearChain(nnx.Module):
    """Scores of moves between tags, learned; emissions come from elsewhere.

    Moves that are not allowed have the score -inf, in the loss and in decoding.
    """

    def __init__(
        self,
        tags: int,
        *,
        allowed: AllowedTransitions | None = None,
        init: nnx.Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes transitions ``[C, C]``.

        Args:
          tags: C.
          allowed: which moves and ends there may be, as
            `kexue_jax.algorithms.tagging.allowed_transitions` gives it; None for all.
          init: of the transitions; Glorot's uniform one by default, as in the posts.
            They learn well at rates far above those of the encoder.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no tags, or `allowed` is of other shapes.

        Source: https://kexue.fm/archives/7196
        """
        if tags < 1:
            raise ValueError(f"tags must be at least 1, got {tags}")
        if allowed is not None:
            shapes = [array.shape for array in allowed]
            if shapes != [(tags, tags), (tags,), (tags,)]:
                raise ValueError(
                    f"allowed must be bool of [C, C], [C] and [C] with {tags} tags, "
                    f"got {shapes}"
                )
            moves, *ends = (array.tolist() for array in allowed)
            # A module holds plain values: its arrays would be taken for variables.
            self.allowed = (tuple(map(tuple, moves)), *map(tuple, ends))
        else:
            self.allowed = None
        draw = nnx.initializers.glorot_uniform() if init is None else init
        self.transitions = nnx.Param(draw(rngs.params(), (tags, tags)))

    def scores(self) -> tuple[jax.Array, jax.Array | None, jax.Array | None]:
        """Returns transitions ``[C, C]`` and the scores ``[C]`` of both ends."""
        transitions = self.transitions[...]
        if self.allowed is None:
            return transitions, None, None
        moves, first, last = map(jnp.array, self.allowed)
        return (
            jnp.where(moves, transitions, -jnp.inf),
            jnp.where(first, 0.0, -jnp.inf),
            jnp.where(last, 0.0, -jnp.inf),
        )

    def loss(self, emissions: jax.Array, tags: jax.Array, kept: jax.Array) -> jax.Array:
        """Returns the mean over rows of the negative log-likelihood.

        Args:
          emissions: ``[B, T, C]``.
          tags: ``[B, T]`` integers. Those of a row must be allowed: otherwise the loss
            is inf, and its gradients leave the row out.
          kept: ``[B, T]`` bool. A row that hides all is not in the mean.

        Returns:
          ``[]`` float32; 0 where no row keeps a place.

        Raises:
          ValueError: if the shapes disagree.
        """
        transitions, first, last = self.scores()
        found = linear_chain.log_likelihood(
            emissions, transitions, tags, kept, first=first, last=last
        )
        rows = jnp.sum(jnp.any(kept, axis=1))
        return -jnp.sum(found) / jnp.maximum(rows, 1)

    def decode(
        self, emissions: jax.Array, kept: jax.Array
    ) -> linear_chain.TagSequences:
        """Returns the best tags ``[B, T]`` and their scores, with allowed moves alone.

        Args:
          emissions: ``[B, T, C]``.
          kept: ``[B, T]`` bool.

        Raises:
          ValueError: if the shapes disagree.
        """
        transitions, first, last = self.scores()
        return linear_chain.viterbi(
            emissions, transitions, kept, first=first, last=last
        )
