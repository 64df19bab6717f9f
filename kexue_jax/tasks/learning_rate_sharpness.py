"""Task: how sharp the minimum is that a learning rate of full-batch descent finds."""

from typing import Any

import jax
import numpy as np

from kexue_jax.algorithms.curvature import largest_curvature
from kexue_jax.tasks.classification import Classification


class LearningRateSharpness(Classification):
    r"""A classification that also looks at the loss around its weights.

    The batch is meant to be all there is to learn from. To compare rates at an equal
    loss, a config names ``train/above`` as its `best` score: it is 0 from the first
    evaluation on whose loss is no more than `level`, and the first of equals is best.

    Args:
      learning_rate: that of the optimizer, for the limit :math:`2 / \eta` beyond which
        gradient descent is unstable.
      level: in nats.
      iterations: products with the Hessian, as in `largest_curvature`.
      **options: of `Classification`.

    Raises:
      ValueError: if a number is out of range.
    """

    def __init__(
        self,
        *,
        learning_rate: float,
        level: float = 0.05,
        iterations: int = 30,
        **options: Any,
    ):
        if learning_rate <= 0 or level <= 0:
            raise ValueError(
                "learning_rate and level must be positive, got "
                f"{learning_rate}, {level}"
            )
        super().__init__(**options)
        self.learning_rate, self.level = learning_rate, level
        self.iterations = iterations
        self._around = jax.jit(self._measured)

    def _measured(self, params, extras, batch):
        """Loss, squared norm of its gradient and sharpness, over a batch."""

        def loss(params):
            return self.loss(params, extras, batch, None)[0]

        value, slope = jax.value_and_grad(loss)(params)
        square = sum(jax.numpy.sum(x * x) for x in jax.tree.leaves(slope))
        sharpness = largest_curvature(
            jax.grad(loss), params, jax.random.key(0), iterations=self.iterations
        )
        return value, square, sharpness

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns the scores of the held-out, and those around the weights.

        ``train/loss`` and ``train/above``, by how much it exceeds the level;
        ``train/gradient_square``; ``sharpest/curvature``, the top eigenvalue of the
        Hessian, and ``stable/curvature``, the limit of the rate.
        """
        found = self._around(params, extras, self.data.source(0))
        value, square, sharpness = (float(np.asarray(x)) for x in found)
        return super().evaluate(params, extras) | {
            "train/loss": value,
            "train/above": max(value - self.level, 0.0),
            "train/gradient_square": square,
            "sharpest/curvature": sharpness,
            "stable/curvature": 2.0 / self.learning_rate,
        }
