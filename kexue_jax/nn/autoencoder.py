"""Variational autoencoders, and the heads that say what the encoder's output means."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from kexue_jax.nn.perceptron import Perceptron


class PlainHead(nnx.Module):
    """Mean and scale of a diagonal normal, as the encoder gives them."""

    def __init__(self, *, latent: int, rngs: nnx.Rngs):
        del latent, rngs  # it has no parameters

    def __call__(self, mean, log_variance, *, train: bool) -> tuple:
        """Maps two ``[B, L]`` to mean and positive scale, ``[B, L]`` each."""
        del train
        return mean, jnp.exp(0.5 * jnp.clip(log_variance, -20.0, 20.0))


class BatchNormHead(nnx.Module):
    r"""Mean and scale normalised over the batch, so that KL cannot vanish.

    .. math:: \mu = \sqrt{\tau + (1-\tau)\,\mathrm{sigmoid}(\theta)}\;\mathrm{BN}(m),
       \quad \sigma = \sqrt{(1-\tau)\,\mathrm{sigmoid}(-\theta)}\;\mathrm{BN}(s)

    Over a batch :math:`E\mu^2 \ge \tau` and :math:`E\mu^2 + E\sigma^2 = 1` in every
    dimension, so the KL divergence from the standard normal is at least
    :math:`L \tau / 2`, whatever the decoder does. A scale may be negative.

    Args:
      latent: L.
      tau: least mean square of each mean, in (0, 1).

    Raises:
      ValueError: if `tau` is outside.

    Source: https://kexue.fm/archives/7381
    """

    def __init__(self, *, latent: int, tau: float = 0.5, rngs: nnx.Rngs):
        if not 0 < tau < 1:
            raise ValueError(f"tau must be in (0, 1), got {tau}")
        self.tau = tau
        self.theta = nnx.Param(jnp.zeros((latent,)))
        norm = partial(
            nnx.BatchNorm,
            latent,
            use_scale=False,
            use_bias=False,
            momentum=0.9,
            epsilon=1e-5,
            rngs=rngs,
        )
        self.norm_mean, self.norm_scale = norm(), norm()

    def __call__(self, mean, scale, *, train: bool) -> tuple:
        """Maps two ``[B, L]`` to mean and scale, ``[B, L]`` each."""
        share = (1.0 - self.tau) * jax.nn.sigmoid(self.theta[...])
        rest = (1.0 - self.tau) * jax.nn.sigmoid(-self.theta[...])
        mean = self.norm_mean(mean, use_running_average=not train)
        scale = self.norm_scale(scale, use_running_average=not train)
        return jnp.sqrt(self.tau + share)[None] * mean, jnp.sqrt(rest)[None] * scale


class VariationalAutoencoder(nnx.Module):
    """Encoder, head and decoder for vectors with entries from 0 to 1.

    Args:
      features: entries of an input, flattened.
      hidden: layers of the encoder; the decoder has them in the other order.
      latent: dimensions of the code.
      head: makes the head from ``latent=`` and ``rngs=``.
    """

    def __init__(
        self,
        *,
        features: int,
        hidden: Sequence[int],
        latent: int,
        head: Callable[..., nnx.Module] = PlainHead,
        rngs: nnx.Rngs,
    ):
        self.encoder = Perceptron((features, *hidden), rngs=rngs)
        self.to_mean = nnx.Linear(hidden[-1], latent, rngs=rngs)
        self.to_scale = nnx.Linear(hidden[-1], latent, rngs=rngs)
        self.head = head(latent=latent, rngs=rngs)
        self.decoder = Perceptron((latent, *hidden[::-1], features), rngs=rngs)

    def encode(self, inputs: jax.Array, *, train: bool = False) -> tuple:
        """Maps ``[B, ...]`` to mean and scale of the code, ``[B, latent]`` each."""
        flat = inputs.reshape(inputs.shape[0], -1)
        features = jax.nn.relu(self.encoder(flat))
        raw = self.to_mean(features), self.to_scale(features)
        return self.head(*raw, train=train)

    def decode(self, code: jax.Array) -> jax.Array:
        """Maps ``[B, latent]`` to ``[B, features]``, from 0 to 1."""
        return jax.nn.sigmoid(self.decoder(code))

    def __call__(
        self, inputs: jax.Array, *, train: bool = False, rng: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the decoded code, its mean and scale; no `rng` decodes the mean."""
        mean, scale = self.encode(inputs, train=train)
        code = mean
        if rng is not None:
            code = mean + scale * jax.random.normal(rng, mean.shape, mean.dtype)
        return self.decode(code), mean, scale
