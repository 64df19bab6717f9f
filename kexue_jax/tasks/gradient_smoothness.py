"""Task: how smooth the loss is along the way that a recurrent net is trained."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.algorithms.smoothness import local_smoothness
from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.nn.functional import functional
from kexue_jax.tasks.classification import Labelled

PARTS = 4  # that the dots of the diagram are coloured by


def fitted_line(norm: np.ndarray, smooth: np.ndarray) -> tuple[float, float]:
    """Returns L0 and L1 of the line ``L0 + L1 norm`` nearest to smoothnesses.

    It has the least sum of squares of relative errors; neither number is negative.

    Args:
      norm, smooth: ``[N]``, positive.
    """
    columns = np.stack([1.0 / smooth, norm / smooth], axis=1)
    both = np.linalg.lstsq(columns, np.ones(len(norm)), rcond=None)[0]
    if both.min() >= 0.0:
        return float(both[0]), float(both[1])
    alone = columns.sum(axis=0) / np.square(columns).sum(axis=0)
    left = np.square(1.0 - columns * alone).sum(axis=0)
    return (float(alone[0]), 0.0) if left[0] < left[1] else (0.0, float(alone[1]))


class GradientSmoothness:
    r"""Cross-entropy of pictures that a recurrent net reads row by row.

    Beside the loss it measures: the norm of the gradient at the weights before a step,
    and the smoothness of the loss from there to the weights after it, both over one
    large batch and not the small one of the step. The way is kept in the extras.

    Args:
      data: pictures ``[B, rows * columns]``.
      measured: where the way is measured: its batch 0.
      model: called as ``model(columns, classes, rngs=...)``; it takes ``[B, T, D]``.
      rows: T of a picture.
      steps: how many the way can hold; later ones are not measured.
      deltas: parts of a step, as in `local_smoothness`.

    Raises:
      ValueError: if `steps` is below 1, or pictures have no such rows.
    """

    def __init__(
        self,
        *,
        data: Labelled,
        measured: Labelled,
        model: Callable[..., Any],
        rows: int,
        steps: int,
        deltas: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0),
    ):
        whole = measured.source(0)
        pixels = whole["inputs"].shape[-1]
        if steps < 1 or rows < 1 or pixels % rows:
            raise ValueError(
                f"steps must be at least 1 and rows divide the {pixels} pixels, got "
                f"{steps} and {rows}"
            )
        self.data, self.batch, self.measured = data, data.source, measured
        self.rows, self.steps, self.deltas = rows, steps, tuple(deltas)
        self._whole = whole
        self._make, self._apply = functional(
            partial(model, pixels // rows, data.classes)
        )
        self._found = jax.jit(self._scores)

    def init(self, rng: jax.Array) -> tuple[Any, dict[str, Any]]:
        """Returns a net, and in extras a copy of it and a way of no steps."""
        params, extras = self._make(rng)
        if extras:
            raise ValueError(f"a net must keep nothing but weights, got {extras}")
        way = jnp.zeros((self.steps, 2), jnp.float32)
        before = jax.tree.map(jnp.array, params)
        return params, {"before": before, "count": jnp.zeros((), jnp.int32), "way": way}

    def _scores(self, params, inputs, label):
        """Mean cross-entropy in nats, and the share that is right."""
        pictures = inputs.reshape(len(inputs), self.rows, -1)
        scores, _ = self._apply(params, {}, pictures)
        nll = optax.softmax_cross_entropy_with_integer_labels(scores, label)
        return jnp.mean(nll), jnp.mean(jnp.argmax(scores, axis=-1) == label)

    def _measure(self, before, params):
        """Norm of the gradient before a step and smoothness on the way, ``[2]``."""

        def slope(params):
            return jax.grad(
                lambda p: self._scores(p, self._whole["inputs"], self._whole["label"])[
                    0
                ]
            )(params)

        found = local_smoothness(slope, before, params, self.deltas)
        return jnp.stack([optax.tree.norm(slope(before)), found])

    def loss(self, params, extras, batch, rng):
        """Mean cross-entropy in nats; with a key it measures the last step, too."""
        loss, right = self._scores(params, batch["inputs"], batch["label"])
        scores = {"loss": loss, "accuracy": right}
        if rng is None:
            return loss, (extras, scores)
        now, count = jax.lax.stop_gradient(params), extras["count"]
        pair = self._measure(extras["before"], now)
        # Before step 0 nothing has moved: place -1, which `drop` leaves out.
        place = jnp.where(count > 0, count - 1, self.steps)
        way = extras["way"].at[place].set(pair, mode="drop")
        return loss, ({"before": now, "count": count + 1, "way": way}, scores)

    def _way(self, extras):
        """Norms and smoothnesses ``[N]`` of the steps that moved, and their places."""
        way = np.asarray(extras["way"], np.float64)
        moved = np.flatnonzero(np.all(way > 0, axis=1))
        return way[moved, 0], way[moved, 1], moved

    def evaluate(self, params, extras) -> dict[str, float]:
        """Returns scores of the held-out, of the measured, and of the way so far.

        ``way/correlation`` is that of the logarithms of norm and smoothness, ``way/l0``
        and ``/l1`` are those of `fitted_line`; all are 0 before there are three steps.
        ``way/norms_range`` and ``/smoothness_range`` are the greatest over the least.
        """
        scores = {}
        for name, batch in (("train", self._whole), ("valid", self.data.held_out[0])):
            loss, right = self._found(params, batch["inputs"], batch["label"])
            scores |= {f"{name}/loss": float(loss), f"{name}/accuracy": float(right)}
        norm, smooth, _ = self._way(extras)
        found = {"correlation": 0.0, "l0": 0.0, "l1": 0.0}
        if len(norm) >= 3:
            correlation = np.corrcoef(np.log(norm), np.log(smooth))[0, 1]
            l0, l1 = fitted_line(norm, smooth)
            found = {"correlation": float(correlation), "l0": l0, "l1": l1}
        for name, x in (("norms", norm), ("smoothness", smooth)):
            found[f"{name}_range"] = float(x.max() / x.min()) if len(x) else 1.0
        return scores | {f"way/{name}": value for name, value in found.items()}

    def exhibits(self, params, extras) -> list[Exhibit]:
        """Returns smoothness by norm, and both by step."""
        del params
        norm, smooth, step = self._way(extras)
        if not len(norm):
            return []
        l0, l1 = fitted_line(norm, smooth)
        bounds = np.linspace(0, self.steps, PARTS + 1)
        dots = []
        for low, high in itertools.pairwise(bounds):
            own = (step >= low) & (step < high)
            if own.any():
                dots.append(
                    Series(f"steps {low:.0f} to {high:.0f}", norm[own], smooth[own])
                )
        line = np.geomspace(norm.min(), norm.max(), 200)
        fit = Series(f"{l0:.3g} + {l1:.3g} norm", line, l0 + l1 * line)
        return [
            Curves(
                "Local smoothness by the norm of the gradient",
                [*dots, fit],
                "norm of the gradient",
                "local smoothness",
                log_x=True,
                log_y=True,
                points=True,
            ),
            Curves(
                "Norm and smoothness by step",
                [
                    Series("norm of the gradient", step, norm),
                    Series("local smoothness", step, smooth),
                ],
                "step",
                "",
                log_y=True,
            ),
        ]

    def fingerprint(self) -> dict[str, str | int]:
        """Returns what the data are."""
        return self.data.fingerprint()
