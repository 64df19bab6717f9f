"""Task: classification with few labels, and steadiness on what has none."""

from collections.abc import Callable
from typing import Any

import jax

from kexue_jax.losses.leaves import moved, read
from kexue_jax.tasks.classification import Classification


class SemiSupervised(Classification):
    """Cross-entropy of what has a label, and consistency of what has none."""

    def __init__(
        self,
        *,
        consistency: Callable[..., jax.Array] | None = None,
        weight: float = 1.0,
        leaf: str = "batch/unlabelled",
        **options: Any,
    ):
        """Makes the task.

        Args:
          consistency: called as ``consistency(score, inputs, rng)`` with the model as
            `score`, such as `kexue_jax.losses.virtual_adversarial_loss` with its
            radius; None leaves out what has no label.
          weight: of it, beside the mean cross-entropy.
          leaf: what is moved: the inputs without a label, or a leaf of the parameters
            such as ``params/embed/embedding``, where those are tokens.
          options: of `Classification`; batches of `data` hold ``unlabelled``.

        Raises:
          ValueError: if `weight` is negative.
        """
        if weight < 0:
            raise ValueError(f"weight must not be negative, got {weight}")
        super().__init__(**options)
        self.consistency, self.weight, self.leaf = consistency, weight, leaf

    def loss(self, params, extras, batch, rng):
        """Mean cross-entropy and the weighed consistency, in nats."""
        value, (after, scores) = super().loss(params, extras, batch, rng)
        if self.consistency is None or rng is None:
            return value, (after, scores)
        noise, dropout = jax.random.split(rng)

        def score(x):
            own, _, seen = moved(self.leaf, params, extras, batch, x)
            return self.apply(own, extras, seen["unlabelled"], train=True, rng=dropout)[
                0
            ]

        x = read(self.leaf, params, batch)
        apart = self.consistency(score, x, noise)
        return value + self.weight * apart, (after, scores | {"consistency": apart})
