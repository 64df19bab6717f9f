"""A perceptron as a classifier of rows of numbers."""

from collections.abc import Callable, Sequence

import jax
from flax import nnx

from kexue_jax.nn.perceptron import Perceptron


class RowClassifier(nnx.Module):
    """A perceptron that gives scores of classes to rows of numbers."""

    def __init__(
        self,
        columns: int,
        classes: int,
        *,
        hidden: Sequence[int],
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        """Makes layers from `columns` over `hidden` to `classes`."""
        self.layers = Perceptron(
            (columns, *hidden, classes), activation=activation, rngs=rngs
        )

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns scores ``[B, C]`` of `inputs` ``[B, D]``."""
        del train, rng  # nothing is random here
        return self.layers(inputs)


class InputClassifier(RowClassifier):
    """The same where the columns are known first and the classes come with the data."""

    def __init__(self, classes: int, *, columns: int, **options):
        """Makes a `RowClassifier` of `columns` and `classes`."""
        super().__init__(columns, classes, **options)
