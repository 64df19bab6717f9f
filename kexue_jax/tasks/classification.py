"""Task: the class of an example, scored for accuracy and for calibration."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Bars, Curves, Exhibit, Series, Table
from kexue_jax.nn.functional import functional

BINS = 10  # of the calibration error


class Labelled(Protocol):
    """Batches with ``inputs`` and ``label``, to learn from and held out."""

    @property
    def classes(self) -> int: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def held_out(self) -> Sequence[dict[str, np.ndarray]]: ...
    def fingerprint(self) -> dict[str, str | int]: ...


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """Returns the mean distance of confidence and accuracy over bins of confidence.

    Args:
      confidence: ``[N]`` from 0 to 1, the probability of the class that was chosen.
      right: ``[N]``, whether it was right.
    """
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / max(len(confidence), 1))


class Classification:
    """Cross-entropy of the label under any map from scores to log-probabilities."""

    def __init__(
        self,
        *,
        data: Labelled,
        model: Callable[..., Any],
        log_probabilities: Callable[[jax.Array], jax.Array] = jax.nn.log_softmax,
        smoothing: float = 0.0,
    ):
        """Makes the task.

        Args:
          data: what there is to tell apart.
          model: called as ``model(classes, rngs=...)``; the module takes ``inputs``,
            ``train=`` and ``rng=`` and gives scores ``[B, C]``.
          log_probabilities: from scores to logarithms of probabilities, over the last
            axis.
          smoothing: share of each label that is spread evenly over all classes.

        Raises:
          ValueError: if `smoothing` is no share.
        """
        if not 0.0 <= smoothing < 1.0:
            raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
        self.data, self.batch, self.smoothing = data, data.source, smoothing
        self.log_probabilities = log_probabilities
        self.init, self.apply = functional(partial(model, data.classes))
        self._found = jax.jit(self._all)

    def _all(self, params, extras, inputs, rng=None):
        scores, extras = self.apply(
            params, extras, inputs, train=rng is not None, rng=rng
        )
        return self.log_probabilities(scores.astype(jnp.float32)), extras

    def loss(self, params, extras, batch, rng):
        """Mean cross-entropy in nats; `rng` drives dropout."""
        found, extras = self._all(params, extras, batch["inputs"], rng)
        label = batch["label"][:, None]
        own = jnp.take_along_axis(found, label, axis=-1)[:, 0]
        even = jnp.mean(found, axis=-1)
        loss = -jnp.mean((1.0 - self.smoothing) * own + self.smoothing * even)
        right = jnp.argmax(found, axis=-1) == batch["label"]
        return loss, (extras, {"loss": loss, "accuracy": jnp.mean(right)})

    def _held_out(self, params, extras):
        """Log-probabilities ``[N, C]`` and labels ``[N]`` of all that is held out."""
        rows = []
        for batch in self.data.held_out:
            found, _ = self._found(params, extras, batch["inputs"])
            seen = batch["weight"] > 0
            rows.append((np.asarray(found, np.float64)[seen], batch["label"][seen]))
        return tuple(np.concatenate(part) for part in zip(*rows, strict=True))

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns accuracy, cross-entropy in nats and calibration of the held-out."""
        found, label = self._held_out(params, extras)
        right = found.argmax(axis=-1) == label
        confidence = np.exp(found.max(axis=-1))
        scores = {
            "accuracy": right.mean(),
            "loss": -found[np.arange(len(label)), label].mean(),
            "calibration_error": calibration_error(confidence, right),
            "confidence": confidence.mean(),
        }
        return {f"valid/{name}": float(value) for name, value in scores.items()}

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns a reliability diagram, confidences and the confusion of classes."""
        found, label = self._held_out(params, extras)
        chosen, confidence = found.argmax(axis=-1), np.exp(found.max(axis=-1))
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        count = np.bincount(place, minlength=BINS)
        seen = count > 0
        mean, share = (
            np.bincount(place, values, minlength=BINS)[seen] / count[seen]
            for values in (confidence, chosen == label)
        )
        line = np.array([0.0, 1.0])
        classes = range(self.data.classes)
        table = [
            [c, *(int(np.sum((label == c) & (chosen == d))) for d in classes)]
            for c in classes
        ]
        return [
            Curves(
                "Accuracy at a confidence",
                [Series("held out", mean, share), Series("calibrated", line, line)],
                "confidence",
                "accuracy",
            ),
            Bars(
                "Confidences",
                [f"{(place + 0.5) / BINS:.2f}" for place in range(BINS)],
                ["held out"],
                count[:, None],
                "examples",
            ),
            Table(
                "Classes and what they were taken for",
                ["class", *map(str, classes)],
                table,
            ),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data is."""
        return self.data.fingerprint()
