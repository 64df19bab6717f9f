"""A classifier whose layers may trade scale: no biases, and ReLU between them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx


class HomogeneousClassifier(nnx.Module):
    """A perceptron without biases, drawn by He's rule times a scale for each layer."""

    def __init__(
        self,
        classes: int,
        *,
        columns: int,
        hidden: Sequence[int],
        scales: Sequence[float] | None = None,
        rngs: nnx.Rngs,
    ):
        """Makes layers from `columns` over `hidden` to `classes`.

        Args:
          classes: C, of the output.
          columns: D, of the input.
          hidden: units of the layers between them.
          scales: what each kernel is multiplied by at the start; ones by default.
          rngs: draws the kernels.

        Raises:
          ValueError: if there are not as many scales as layers.
        """
        sizes = (columns, *hidden, classes)
        scales = (1.0,) * (len(sizes) - 1) if scales is None else tuple(scales)
        if len(scales) != len(sizes) - 1:
            raise ValueError(
                f"scales must be {len(sizes) - 1} numbers, one a layer, got {scales}"
            )
        he = nnx.initializers.he_normal()
        self.kernels = nnx.List(
            [
                nnx.Param(jnp.asarray(scale * he(rngs.params(), (a, b))))
                for scale, a, b in zip(scales, sizes[:-1], sizes[1:], strict=True)
            ]
        )

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> jax.Array:
        """Returns scores ``[B, C]`` of `inputs` ``[B, D]``."""
        del train, rng  # nothing is random here
        for place, kernel in enumerate(self.kernels):
            inputs = jnp.dot(jax.nn.relu(inputs) if place else inputs, kernel[...])
        return inputs
