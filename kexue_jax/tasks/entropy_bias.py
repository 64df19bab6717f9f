"""Task: entropy estimated from neighbours beside the true one; nothing is trained."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Bars, Curves, Series, Table
from kexue_jax.metrics.knn_entropy import knn_entropy
from kexue_jax.tasks.analysis import Analysis, Measured

NORMAL = 0.5 * math.log(2.0 * math.pi * math.e)  # nats a dimension, of deviation 1


def _correlated(rng, shape):
    first, rest = jnp.split(jax.random.normal(rng, shape), [1], axis=1)
    return jnp.concatenate([first, 0.9 * first + math.sqrt(0.19) * rest], axis=1)


def _bimodal(rng, shape):
    side, noise = jax.random.split(rng)
    centre = jax.random.rademacher(side, shape, jnp.float32)
    return centre + 0.1 * jax.random.normal(noise, shape)


SHAPES = {
    "normal": jax.random.normal,
    "laplace": jax.random.laplace,
    "uniform": partial(jax.random.uniform, minval=-1.0, maxval=1.0),
    "correlated": _correlated,
    "bimodal": _bimodal,
}


class EntropyBias(Analysis):
    r"""How far Kozachenko and Leonenko's estimate is from the entropy.

    Of standard normal samples, whose entropy :math:`\frac d2 \log 2\pi e` is the
    greatest there is with these variances. Scores, for n samples and neighbour k:

    - ``n<n>_k<k>/bias_<d>``: the mean estimate over draws, less the entropy;
    - ``n<n>_k<k>/above_<d>``: the share of draws whose estimate is above it, that is,
      above what any distribution of these variances can have;
    - ``order/<shape>``: the mean estimate, with the first of `neighbours`, of 256
      samples in 2 dimensions, each axis brought to mean 0 and deviation 1: ``normal``,
      ``laplace``, ``uniform``, ``correlated`` (0.9) and ``bimodal`` (1 or -1, plus a
      tenth of a normal).

    Args:
      dimensions: d.
      counts: n, above every k.
      neighbours: k.
      draws: of samples, for each d and n; all k are tried on the same.
    """

    def __init__(
        self,
        *,
        dimensions: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128),
        counts: Sequence[int] = (128, 512, 2048),
        neighbours: Sequence[int] = (1, 3, 5, 10),
        draws: int = 20,
    ):
        for name, values in (
            ("dimensions", dimensions),
            ("counts", counts),
            ("neighbours", neighbours),
            ("draws", (draws,)),
        ):
            if not values or min(values) < 1:
                raise ValueError(f"{name} must be positive, got {values}")
        if min(counts) <= max(neighbours):
            raise ValueError(
                f"counts must be above every k, got {tuple(counts)} and "
                f"{tuple(neighbours)}"
            )
        self.dimensions, self.counts = tuple(dimensions), tuple(counts)
        self.neighbours, self.draws = tuple(neighbours), draws
        self._estimates = jax.jit(
            lambda x: jnp.stack([knn_entropy(x, k=k) for k in self.neighbours])
        )
        self._scaled_estimate = jax.jit(self._first)

    def _first(self, x):
        x = (x - jnp.mean(x, axis=0, keepdims=True)) / jnp.std(x, axis=0, keepdims=True)
        return knn_entropy(x, k=self.neighbours[0])

    def _of_normals(self, rng, count, size):
        """Estimates ``[draws, neighbours]``."""
        keys = jax.random.split(rng, self.draws)
        rows = [self._estimates(jax.random.normal(k, (count, size))) for k in keys]
        return np.array(jax.device_get(rows), np.float64)

    def _of_shapes(self, rng):
        """Mean estimates by name."""
        found = {}
        for number, (name, draw) in enumerate(SHAPES.items()):
            keys = jax.random.split(jax.random.fold_in(rng, number), self.draws)
            rows = [self._scaled_estimate(draw(k, (256, 2))) for k in keys]
            found[name] = float(np.mean(rows))
        return found

    def measure(self, rng: jax.Array) -> Measured:
        """Returns biases and shares, a table and diagrams."""
        for_normals, for_shapes = jax.random.split(rng)
        scores: dict[str, float] = {}
        rows = []
        for i, count in enumerate(self.counts):
            for j, size in enumerate(self.dimensions):
                key = jax.random.fold_in(jax.random.fold_in(for_normals, i), j)
                away = self._of_normals(key, count, size) - size * NORMAL
                for k, one in zip(self.neighbours, away.T, strict=True):
                    group = f"n{count}_k{k}"
                    scores[f"{group}/bias_{size}"] = float(one.mean())
                    scores[f"{group}/above_{size}"] = float(np.mean(one > 0.0))
                    truth, share = round(size * NORMAL, 2), float(np.mean(one > 0.0))
                    about = round(one.mean(), 3), round(one.std(), 3), share
                    rows.append((count, size, k, truth, *about))
        shapes = self._of_shapes(for_shapes)
        scores |= {f"order/{name}": value for name, value in shapes.items()}
        return Measured(scores, self._shown(scores, shapes, rows))

    def _shown(self, scores, shapes, rows):
        x = np.array(self.dimensions)

        def line(count, k):
            group = f"n{count}_k{k}"
            values = np.array([scores[f"{group}/bias_{d}"] for d in self.dimensions])
            return Series(f"n = {count}, k = {k}", x, values / x)

        title = "Estimate less entropy, a dimension"
        first = self.neighbours[0]
        return [
            Curves(
                f"{title}, by samples",
                [line(count, first) for count in self.counts],
                "dimensions",
                "nats",
                log_x=True,
            ),
            Curves(
                f"{title}, by neighbour",
                [line(self.counts[0], k) for k in self.neighbours],
                "dimensions",
                "nats",
                log_x=True,
            ),
            Bars(
                "Estimates of 256 samples in 2 dimensions",
                list(shapes),
                ["estimate"],
                np.array(list(shapes.values()))[:, None],
                "nats",
                note=f"No distribution of variance 1 has more than {2 * NORMAL:.2f}.",
            ),
            Table(
                f"Standard normal samples, {self.draws} draws",
                ("n", "d", "k", "entropy", "bias", "deviation", "share above"),
                rows,
            ),
        ]
