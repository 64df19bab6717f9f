"""Task: predict the tokens that are asked for, the next ones or hidden ones."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Exhibit, Series, Table
from kexue_jax.nn.functional import functional

ASKED = ("targets", "weight")


class Prediction(Protocol):
    """Batches with ``tokens``, ``targets`` and ``weight``, to learn from and held out.

    What else a batch holds goes to the model by name.
    """

    @property
    def vocabulary(self) -> int: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def held_out(self) -> Mapping[str, Sequence[dict[str, np.ndarray]]]: ...
    def fingerprint(self) -> dict[str, str | int]: ...


class TokenPrediction:
    """Cross-entropy of the targets that weigh, in nats a target."""

    def __init__(self, *, data: Prediction, model: Callable[..., Any]):
        """Makes the task.

        Args:
          data: what there is to predict.
          model: called as ``model(vocabulary, rngs=...)``; the module takes ``tokens``
            ``[B, T]``, ``train=`` and ``rng=`` and gives scores ``[B, T, V]``.
        """
        self.data, self.batch = data, data.source
        self.init, self.apply = functional(partial(model, data.vocabulary))
        self._nll = jax.jit(self._losses)

    def _losses(self, params, extras, batch, rng=None):
        """Returns the losses ``[B, T]`` in nats, whether right, and extras."""
        more = {k: v for k, v in batch.items() if k not in ("tokens", *ASKED)}
        logits, extras = self.apply(
            params, extras, batch["tokens"], train=rng is not None, rng=rng, **more
        )
        logits, targets = logits.astype(jnp.float32), batch["targets"]
        nll = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return nll, jnp.argmax(logits, axis=-1) == targets, extras

    def loss(self, params, extras, batch, rng):
        """Mean loss in nats over the targets by weight; `rng` drives dropout."""
        nll, right, extras = self._losses(params, extras, batch, rng)
        weight = jnp.sum(batch["weight"])
        share = batch["weight"] / jnp.maximum(weight, 1.0)
        loss, accuracy = jnp.sum(nll * share), jnp.sum(right * share)
        scores = {"loss": loss, "accuracy": accuracy, "weight": weight}
        return loss, (extras, scores)

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns ``loss`` in nats and ``accuracy`` of each set that is held out."""
        scores = {}
        for name, batches in self.data.held_out.items():
            total = right = count = 0.0
            for batch in batches:
                nll, hits, _ = self._nll(params, extras, batch)
                total += float(np.sum(np.asarray(nll, np.float64) * batch["weight"]))
                right += float(np.sum(np.asarray(hits) * batch["weight"]))
                count += float(np.sum(batch["weight"]))
            scores[f"{name}/loss"] = total / count
            scores[f"{name}/accuracy"] = right / count
        return scores

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns loss and accuracy by set, and the loss by place in the row."""
        scores = self.evaluate(params, extras)
        rows = [
            (
                name,
                round(scores[f"{name}/loss"], 4),
                round(scores[f"{name}/accuracy"], 4),
            )
            for name in self.data.held_out
        ]
        series = [
            Series(name, *self._by_place(params, extras, batches))
            for name, batches in self.data.held_out.items()
        ]
        return [
            Table("What is held out", ("set", "nats a target", "accuracy"), rows),
            Curves(
                "Loss by place in the row",
                series,
                x_label="place",
                y_label="nats a target",
            ),
        ]

    def _by_place(self, params, extras, batches):
        """Returns at most 32 places and the mean loss around each of them."""
        length = batches[0]["tokens"].shape[1]
        total, count = np.zeros(length), np.zeros(length)
        for batch in batches:
            nll, _, _ = self._nll(params, extras, batch)
            total += np.sum(np.asarray(nll, np.float64) * batch["weight"], axis=0)
            count += np.sum(batch["weight"], axis=0)
        width = -(-length // 32)
        places = np.arange(0, length, width)
        sums = np.add.reduceat(total, places), np.add.reduceat(count, places)
        seen = sums[1] > 0
        return places[seen] + 0.5 * (width - 1), sums[0][seen] / sums[1][seen]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data is."""
        return self.data.fingerprint()
