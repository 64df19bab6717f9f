"""Layer normalisation whose gain and shift follow a condition."""

import jax
import jax.numpy as jnp
from flax import nnx


class ConditionalLayerNorm(nnx.Module):
    r"""Layer normalisation with a gain and a shift that are linear in a condition.

    .. math:: y = (\gamma + W_\gamma v) \odot \frac{x - \bar x}{\sqrt{\sigma_x^2 +
              \epsilon}} + \beta + W_\beta v

    Both maps begin as zero, so that it begins as the plain norm and may take the place
    of one that is trained.

    Source: https://kexue.fm/archives/7124
    """

    def __init__(
        self,
        features: int,
        condition_features: int,
        *,
        epsilon: float = 1e-6,
        rngs: nnx.Rngs,
    ):
        """Makes a norm and two maps without biases.

        Args:
          features: D, of what is normalised.
          condition_features: E, of the condition.
          epsilon: added to the variance.
          rngs: where the initial weights come from; it is not kept.
        """
        self.norm = nnx.LayerNorm(
            features, epsilon=epsilon, use_bias=False, use_scale=False, rngs=rngs
        )
        self.scale = nnx.Param(jnp.ones(features))
        self.bias = nnx.Param(jnp.zeros(features))

        def from_zero():
            zeros = nnx.initializers.zeros_init()
            return nnx.Linear(
                condition_features,
                features,
                use_bias=False,
                kernel_init=zeros,
                rngs=rngs,
            )

        self.gain, self.shift = from_zero(), from_zero()

    def __call__(self, inputs: jax.Array, condition: jax.Array) -> jax.Array:
        """Returns an array like `inputs`.

        Args:
          inputs: ``[B, ..., D]``.
          condition: ``[B, E]``, one for all places of an example.

        Raises:
          ValueError: if the shapes disagree.
        """
        if condition.ndim != 2 or inputs.shape[:1] != condition.shape[:1]:
            raise ValueError(
                "inputs and condition must be [B, ..., D] and [B, E], got "
                f"{inputs.shape}, {condition.shape}"
            )
        places = range(1, inputs.ndim - 1)
        gain = self.scale[...][None] + self.gain(condition)
        shift = self.bias[...][None] + self.shift(condition)
        gain, shift = (jnp.expand_dims(x, places) for x in (gain, shift))
        return gain * self.norm(inputs) + shift
