"""A maximum entropy Markov model on top of any encoder, in place of a CRF."""

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.algorithms import linear_chain, memm
from kexue_jax.algorithms.tagging import AllowedTransitions
from kexue_jax.nn.linear_chain import LinearChain


class MaximumEntropyMarkov(LinearChain):
    """Scores of moves between tags, where each tag is given the one before.

    It takes the place of `LinearChain`. What is not allowed at the begin or at the end
    of a row is left out of the softmax there, and so are moves that are not allowed.
    """

    def __init__(
        self,
        tags: int,
        *,
        bidirectional: bool = False,
        allowed: AllowedTransitions | None = None,
        init: nnx.Initializer | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes transitions ``[C, C]``.

        Args:
          tags: C.
          bidirectional: learn and decode by the mean of both directions, which share
            emissions and moves.
          allowed, init, rngs: as in `LinearChain`.

        Raises:
          ValueError: as by `LinearChain`.

        Source: https://kexue.fm/archives/7213
        """
        super().__init__(tags, allowed=allowed, init=init, rngs=rngs)
        self.bidirectional = bidirectional

    def _ended(self, emissions, kept):
        """Emissions of -inf where a row cannot begin, or end, and the moves."""
        moves, first, last = self.scores()
        if first is None or last is None:
            return emissions, moves
        number = jnp.cumsum(kept, axis=1)
        begins = kept & (number == 1)
        ends = kept & (number == number[:, -1:])
        bounds = jnp.where(begins[..., None], first, 0.0)
        bounds = bounds + jnp.where(ends[..., None], last, 0.0)
        return jnp.where(bounds < 0.0, -jnp.inf, emissions), moves

    def loss(self, emissions: jax.Array, tags: jax.Array, kept: jax.Array) -> jax.Array:
        """Returns the mean over rows of the negative log-likelihood.

        Arguments and results are those of `LinearChain.loss`.
        """
        likelihood = memm.memm_log_likelihood
        if self.bidirectional:
            likelihood = memm.bidirectional_log_likelihood
        emissions, moves = self._ended(emissions, kept)
        found = likelihood(emissions, moves, tags, kept)
        rows = jnp.sum(jnp.any(kept, axis=1))
        return -jnp.sum(found) / jnp.maximum(rows, 1)

    def decode(
        self, emissions: jax.Array, kept: jax.Array
    ) -> linear_chain.TagSequences:
        """Returns the most likely tags ``[B, T]`` and their log-probabilities.

        With both directions the score is the mean of theirs.

        Arguments and errors are those of `LinearChain.decode`.
        """
        chain = memm.bidirectional_chain if self.bidirectional else memm.memm_chain
        emissions, moves = self._ended(emissions, kept)
        return linear_chain.viterbi(*chain(emissions, moves, kept), kept)
