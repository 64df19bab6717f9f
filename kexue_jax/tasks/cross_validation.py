"""Task: classes of small tables, one model for each fold, all trained side by side."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Bars, Curves, Exhibit, Series, Table
from kexue_jax.tasks.classification import BINS, Classification, calibration_error


class Folded(Protocol):
    """Batches with a second axis for K models; `repeats` times all rows are held out.

    ``source`` gives ``inputs`` ``[B, K, D]`` and ``label`` ``[B, K]``; `held_out` also
    ``weight`` ``[M, K]``. Models of one repeat stand side by side.
    """

    @property
    def classes(self) -> int: ...
    @property
    def copies(self) -> int: ...
    @property
    def repeats(self) -> int: ...
    @property
    def source(self) -> Callable[[int], dict[str, np.ndarray]]: ...
    @property
    def held_out(self) -> list[dict[str, np.ndarray]]: ...
    def fingerprint(self) -> dict[str, str | int]: ...


class CrossValidation:
    """The sum of the losses of models that share nothing, over tables and their folds.

    Each model has its own parameters, first weights and rows. Under an optimizer that
    treats each parameter alone, such as Adam, they are trained as if each were alone.
    """

    def __init__(
        self,
        *,
        data: Mapping[str, Folded],
        model: Callable[..., Any],
        log_probabilities: Callable[[jax.Array], jax.Array] = jax.nn.log_softmax,
        smoothing: float = 0.0,
    ):
        """Makes the task.

        Args:
          data: tables in folds, by name.
          model: called as ``model(columns, classes, rngs=...)``, see `Classification`.
          log_probabilities, smoothing: as in `Classification`.

        Raises:
          ValueError: if there is no table, or `smoothing` is no share.
        """
        if not data:
            raise ValueError("data must name at least one table, got none")
        self.data, self._parts = dict(data), {}
        for name, folds in self.data.items():
            columns = folds.source(0)["inputs"].shape[-1]
            self._parts[name] = Classification(
                data=folds,
                model=partial(model, columns),
                log_probabilities=log_probabilities,
                smoothing=smoothing,
            )
        self._found = {
            name: jax.jit(jax.vmap(partial(self._logs, part), (0, 0, 1), 1))
            for name, part in self._parts.items()
        }

    def _logs(self, part, params, extras, inputs):
        scores, _ = part.apply(params, extras, inputs)
        return part.log_probabilities(scores.astype(jnp.float32))

    def init(self, rng):
        """Returns params and extras by table, with an axis of K first."""
        params, extras = {}, {}
        for place, (name, part) in enumerate(self._parts.items()):
            own = jax.random.fold_in(rng, place)
            keys = jax.random.split(own, self.data[name].copies)
            params[name], extras[name] = jax.vmap(part.init)(keys)
        return params, extras

    def batch(self, step: int) -> dict[str, np.ndarray]:
        """Returns the batches of all tables, ``<table>/inputs`` and ``/label``."""
        return {
            f"{name}/{key}": array
            for name, folds in self.data.items()
            for key, array in folds.source(step).items()
        }

    def loss(self, params, extras, batch, rng):
        """Sum over models of the mean cross-entropy in nats; scores are means."""
        total, after, scores = 0.0, {}, {}
        for place, (name, part) in enumerate(self._parts.items()):
            rows = {key: batch[f"{name}/{key}"] for key in ("inputs", "label")}
            keys = None
            if rng is not None:
                own = jax.random.fold_in(rng, place)
                keys = jax.random.split(own, self.data[name].copies)
            each, (after[name], found) = jax.vmap(
                part.loss, (0, 0, 1, None if keys is None else 0)
            )(params[name], extras[name], rows, keys)
            total = total + jnp.sum(each)
            scores |= {f"{key}_{name}": jnp.mean(x) for key, x in found.items()}
        scores["loss"] = jnp.mean(
            jnp.stack([scores[f"loss_{name}"] for name in self._parts])
        )
        return total, (after, scores)

    def _held_out(self, params, extras, name):
        """For each repeat the log-probabilities ``[N, C]`` and labels ``[N]``."""
        batch = self.data[name].held_out[0]
        found = self._found[name](params[name], extras[name], batch["inputs"])
        found = np.asarray(found, np.float64)
        groups = np.array_split(np.arange(found.shape[1]), self.data[name].repeats)
        for own in groups:
            seen = batch["weight"][:, own] > 0
            yield found[:, own][seen], batch["label"][:, own][seen]

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns scores of all rows, each by the model that did not learn from it.

        ``<table>/accuracy``, ``/loss`` (cross-entropy in nats), ``/calibration_error``
        and ``/confidence``, means over repeats; ``/sure``, the share of rows of which
        the model is sure to 99 %, and ``/sure_errors``, that of those it is wrong on.
        """
        scores = {}
        for name in self._parts:
            rows = []
            for found, label in self._held_out(params, extras, name):
                right = found.argmax(axis=-1) == label
                confidence = np.exp(found.max(axis=-1))
                rows.append(
                    {
                        "accuracy": right.mean(),
                        "loss": -found[np.arange(len(label)), label].mean(),
                        "calibration_error": calibration_error(confidence, right),
                        "confidence": confidence.mean(),
                        "sure": (confidence > 0.99).mean(),
                        "sure_errors": ((confidence > 0.99) & ~right).mean(),
                    }
                )
            for key in rows[0]:
                scores[f"{name}/{key}"] = float(np.mean([row[key] for row in rows]))
        return scores

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns the scores, reliability diagrams and confidences of each table."""
        scores = self.evaluate(params, extras)
        columns = ("accuracy", "loss", "calibration_error", "confidence")
        table = [
            [name, *(round(scores[f"{name}/{key}"], 4) for key in columns)]
            for name in self._parts
        ]
        line = np.array([0.0, 1.0])
        series, counts = [Series("calibrated", line, line)], []
        for name in self._parts:
            parts = list(self._held_out(params, extras, name))
            found, label = (np.concatenate(part) for part in zip(*parts, strict=True))
            confidence = np.exp(found.max(axis=-1))
            place = np.minimum((confidence * BINS).astype(int), BINS - 1)
            count = np.bincount(place, minlength=BINS)
            seen = count > 0
            mean, share = (
                np.bincount(place, values, minlength=BINS)[seen] / count[seen]
                for values in (confidence, found.argmax(axis=-1) == label)
            )
            series.append(Series(name, mean, share))
            counts.append(count / len(label))
        return [
            Table("Rows held out, each once a repeat", ("table", *columns), table),
            Curves("Accuracy at a confidence", series, "confidence", "accuracy"),
            Bars(
                "Confidences",
                [f"{(place + 0.5) / BINS:.2f}" for place in range(BINS)],
                list(self._parts),
                np.stack(counts, axis=1),
                "share of rows",
            ),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the tables are."""
        return {
            f"{name}_{key}": value
            for name, folds in self.data.items()
            for key, value in folds.fingerprint().items()
        }
