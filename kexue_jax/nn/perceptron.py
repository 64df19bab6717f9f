"""Multilayer perceptrons, alone and with several heads on one trunk."""

import itertools
from collections.abc import Callable, Sequence

import jax
from flax import nnx


class Perceptron(nnx.Module):
    """Dense layers with an activation between them, none after the last.

    Args:
      sizes: features from the input to the output, at least two.
      activation: between layers.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        rngs: nnx.Rngs,
    ):
        if len(sizes) < 2:
            raise ValueError(f"sizes must name input and output, got {tuple(sizes)}")
        self.layers = nnx.List(
            [nnx.Linear(a, b, rngs=rngs) for a, b in itertools.pairwise(sizes)]
        )
        self.activation = activation

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps ``[..., sizes[0]]`` to ``[..., sizes[-1]]``."""
        for layer in self.layers[:-1]:
            inputs = self.activation(layer(inputs))
        return self.layers[-1](inputs)


class SharedTrunk(nnx.Module):
    """One perceptron shared by several linear heads.

    Args:
      sizes: features of the trunk, the input's first.
      heads: how many there are.
      classes: outputs of each.
    """

    def __init__(
        self, *, sizes: Sequence[int], heads: int, classes: int, rngs: nnx.Rngs
    ):
        self.trunk = Perceptron(sizes, rngs=rngs)
        self.heads = nnx.List(
            [nnx.Linear(sizes[-1], classes, rngs=rngs) for _ in range(heads)]
        )

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> tuple[jax.Array, ...]:
        """Maps ``[B, ...]``, flattened, to one ``[B, classes]`` a head."""
        del train, rng  # nothing is random here
        features = jax.nn.relu(self.trunk(inputs.reshape(inputs.shape[0], -1)))
        return tuple(head(features) for head in self.heads)
