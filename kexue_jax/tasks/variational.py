"""Task: a variational autoencoder of pictures, and how much its code says."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Bars, Exhibit, Images
from kexue_jax.metrics.gaussian import kl_to_standard_normal
from kexue_jax.nn.functional import functional

ACTIVE = 0.01  # nats of KL above which a dimension of the code is used


class VariationalAutoencoding:
    r"""Squared error plus KL divergence from the standard normal.

    .. math:: \|x - D(\mu + \epsilon\sigma)\|^2 + \beta \, \mathrm{KL}

    Summed over pixels and dimensions, averaged over pictures. The held-out scores are
    ``error``, ``kl`` (nats), their sum ``loss``, ``active`` (the number of dimensions
    with more than 0.01 nats) and ``least_mean_square``, the least
    :math:`E \mu^2` of a dimension.

    Args:
      model: called as ``model(rngs=...)``.
      source: gives batches with ``image``.
      held_out: sources by name; `held_out_batches` of each are evaluated.
      beta: weight of the KL divergence.
    """

    def __init__(
        self,
        *,
        model: Callable,
        source: Callable[[int], Mapping[str, np.ndarray]],
        held_out: Mapping[str, Callable[[int], Mapping[str, np.ndarray]]],
        held_out_batches: int = 4,
        beta: float = 1.0,
    ):
        self.init, self.apply = functional(model)
        self.batch, self.held_out = source, held_out
        self.held_out_batches, self.beta = held_out_batches, beta
        self._measure = jax.jit(self._held_out_scores)

    def _terms(self, params, extras, image, *, train, rng):
        (decoded, mean, scale), extras = self.apply(
            params, extras, image, train=train, rng=rng
        )
        flat = image.reshape(decoded.shape)
        difference = (flat - decoded).astype(jnp.float32)
        error = jnp.mean(jnp.sum(jnp.square(difference), axis=-1))
        wide = mean.astype(jnp.float32), scale.astype(jnp.float32)
        kl = jnp.mean(kl_to_standard_normal(*wide), axis=0)
        return error, kl, jnp.mean(jnp.square(wide[0]), axis=0), extras

    def loss(self, params, extras, batch, rng):
        """Returns the loss; without `rng` the code's mean is decoded."""
        error, kl, _, extras = self._terms(
            params, extras, batch["image"], train=rng is not None, rng=rng
        )
        loss = error + self.beta * jnp.sum(kl)
        return loss, (extras, {"error": error, "kl": jnp.sum(kl)})

    def _held_out_scores(self, params, extras, image, rng):
        error, kl, square, _ = self._terms(params, extras, image, train=False, rng=rng)
        return error, kl, square

    def _held_out_terms(self, params, extras, source):
        """Means over the held-out batches; what is drawn is the same at every step."""
        rows = [
            self._measure(
                params,
                extras,
                source(i)["image"],
                jax.random.fold_in(jax.random.key(1), i),
            )
            for i in range(self.held_out_batches)
        ]
        return [np.mean([np.asarray(row[k]) for row in rows], axis=0) for k in range(3)]

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns the held-out scores of each source."""
        scores = {}
        for name, source in self.held_out.items():
            error, kl, square = self._held_out_terms(params, extras, source)
            scores |= {
                f"{name}/error": float(error),
                f"{name}/kl": float(kl.sum()),
                f"{name}/loss": float(error + kl.sum()),
                f"{name}/active": float((kl > ACTIVE).sum()),
                f"{name}/least_mean_square": float(square.min()),
            }
        return scores

    def exhibits(self, params: Any, extras: Any) -> list[Exhibit]:
        """Returns pictures with their reconstructions, samples, and KL by dimension."""
        name, source = next(iter(self.held_out.items()))
        image = source(0)["image"][:16]
        side = image.shape[1:]
        (decoded, mean, _), _ = self.apply(params, extras, image, train=False, rng=None)
        code = jax.random.normal(jax.random.key(2), (32, mean.shape[-1]))
        drawn, _ = self.apply(params, extras, code, method="decode")
        both = np.concatenate([image, np.asarray(decoded).reshape(-1, *side)])
        _, kl, _ = self._held_out_terms(params, extras, source)
        order = np.argsort(-kl)
        return [
            Images(
                "Held-out pictures, and below them what their codes decode to", both, 16
            ),
            Images(
                "Decoded draws from the prior", np.asarray(drawn).reshape(-1, *side), 16
            ),
            Bars(
                "KL divergence of each dimension of the code",
                [str(k) for k in order],
                [name],
                kl[order][:, None],
                "nats",
            ),
        ]

    def fingerprint(self) -> dict[str, Any]:
        """Returns what the data are."""
        return {"source": repr(self.batch)}
