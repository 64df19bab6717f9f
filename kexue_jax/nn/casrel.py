"""CasRel: subjects first, then for one of them the objects of every predicate."""

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.conditional_norm import ConditionalLayerNorm

SUBJECT_POWER, OBJECT_POWER = 2, 4  # of the probabilities, in loss and prediction alike


class CasRel(nnx.Module):
    """Starts and ends of subjects, and of objects that a given subject is linked to.

    Both are logits of tokens. Their probabilities are raised to `SUBJECT_POWER` and
    `OBJECT_POWER`, as `power_binary_cross_entropy` has them, for most are to be 0.

    Source: https://kexue.fm/archives/7161
    """

    def __init__(self, features: int, *, predicates: int, rngs: nnx.Rngs):
        """Makes the maps to subjects and to objects, and the norm between.

        Args:
          features: D, size of the states.
          predicates: P.
          rngs: where the initial weights come from; it is not kept.

        Raises:
          ValueError: if there are no predicates.
        """
        if predicates < 1:
            raise ValueError(f"predicates must be at least 1, got {predicates}")
        self.predicates = predicates
        self.subject = nnx.Linear(features, 2, rngs=rngs)
        self.norm = ConditionalLayerNorm(features, 2 * features, rngs=rngs)
        self.object = nnx.Linear(features, 2 * predicates, rngs=rngs)

    def subjects(self, states: jax.Array) -> jax.Array:
        """Returns logits ``[B, T, 2]`` of starts and ends, for states ``[B, T, D]``."""
        return self.subject(states)

    def objects(self, states: jax.Array, subject: jax.Array) -> jax.Array:
        """Returns logits of starts and ends of the objects of one subject.

        Args:
          states: ``[B, T, D]``, before the last norm of the encoder, if it has one.
          subject: ``[B, 2]`` integers, its start and its end; in training one of the
            gold ones or, to show what has no objects, a span that is none.

        Returns:
          ``[B, T, P, 2]``.

        Raises:
          ValueError: if the shapes disagree.
        """
        if states.ndim != 3 or subject.shape != (states.shape[0], 2):
            raise ValueError(
                "states and subject must be [B, T, D] and [B, 2], got "
                f"{states.shape}, {subject.shape}"
            )
        ends = jnp.take_along_axis(states, subject[..., None], axis=1, mode="clip")
        normed = self.norm(states, ends.reshape(len(states), -1))
        logits = self.object(normed)
        return logits.reshape(*states.shape[:2], self.predicates, 2)

    def __call__(
        self, states: jax.Array, subject: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the logits of `subjects` and of `objects`, as training needs them."""
        return self.subjects(states), self.objects(states, subject)
