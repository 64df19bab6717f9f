"""Task: how far random projections change distances; nothing is trained."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.johnson_lindenstrauss import (
    distances_failure_bound,
    squared_distance_ratios,
)
from kexue_jax.algorithms.random_projection import project
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured

Make = Callable[..., object]


def dense_points(rng: jax.Array, count: int, size: int) -> jax.Array:
    """Returns points ``[N, m]`` with normal entries."""
    return jax.random.normal(rng, (count, size))


def single_points(rng: jax.Array, count: int, size: int) -> jax.Array:
    """Returns points ``[N, m]`` with one entry that is not 0, at different places."""
    places = jax.random.permutation(rng, size)[:count]
    return jax.nn.one_hot(places, size)


POINTS = {"dense": dense_points, "single": single_points}


class ProjectionDistortion(Analysis):
    r"""The worst change of a squared distance among N points, over many projections.

    Scores, for points of each sort (``dense``, ``single``), each kind of projection and
    each factor c of the dimension :math:`n = c \log N / \varepsilon^2`:
    ``<sort>/<kind>_worst_<c>``, the mean over draws of the greatest
    :math:`|r_{ij} - 1|`, r the ratio of squared distances after and before; and
    ``<sort>/<kind>_kept_<c>``, the share of draws in which none exceeds
    :math:`\varepsilon`. ``bound/kept_<c>`` is what the lemma promises for that share.

    Args:
      kinds: by name, ``(rng, input_size=, output_size=) -> projection``.
      count: N.
      size: m, at least N.
      epsilon: in (0, 1).
      factors: c.
      draws: of points and projection, for each.
    """

    def __init__(
        self,
        *,
        kinds: Mapping[str, Make],
        count: int = 100,
        size: int = 2000,
        epsilon: float = 0.3,
        factors: Sequence[float] = (2.0, 4.0, 8.0, 16.0, 24.0),
        draws: int = 20,
    ):
        if not 2 <= count <= size:
            raise ValueError(f"count must be from 2 to {size}, got {count}")
        if not 0.0 < epsilon < 1.0 or draws < 1:
            raise ValueError(
                f"epsilon must lie in (0, 1) and draws be positive, got {epsilon} and "
                f"{draws}"
            )
        self._kinds, self.names = dict(kinds), tuple(kinds)
        self.count, self.size, self.epsilon = count, size, epsilon
        self.factors, self.draws = tuple(factors), draws

    def _output_size(self, factor: float) -> int:
        return int(np.ceil(factor * np.log(self.count) / self.epsilon**2))

    def _worst(self, rng, points, make, output_size):
        """The greatest change of one draw."""
        for_points, for_projection = jax.random.split(rng)
        x = POINTS[points](for_points, self.count, self.size)
        projection = make(for_projection, input_size=self.size, output_size=output_size)
        ratios = squared_distance_ratios(x, project(projection, x))
        return jnp.max(jnp.abs(ratios - 1.0))

    def measure(self, rng: jax.Array) -> Measured:
        """Returns shares and greatest changes, a table and a diagram for each sort."""
        scores: dict[str, float] = {}
        curves, rows = [], []
        keys = jax.random.split(rng, self.draws)
        sizes = np.array([self._output_size(c) for c in self.factors])
        for points in POINTS:
            series = []
            for kind, make in self._kinds.items():
                line = []
                for factor, size in zip(self.factors, sizes, strict=True):
                    one = partial(
                        self._worst, points=points, make=make, output_size=int(size)
                    )
                    found = np.asarray(jax.lax.map(one, keys))
                    worst, kept = found.mean(), np.mean(found <= self.epsilon)
                    scores[f"{points}/{kind}_worst_{factor:g}"] = float(worst)
                    scores[f"{points}/{kind}_kept_{factor:g}"] = float(kept)
                    line.append(worst)
                    rows.append(
                        (points, kind, f"{factor:g}", int(size), round(worst, 3), kept)
                    )
                series.append(Series(kind, sizes, np.array(line)))
            curves.append(
                Curves(
                    f"Greatest change of a squared distance, {points} points",
                    series,
                    "dimensions",
                    "mean over draws",
                    log_x=True,
                )
            )
        for factor, size in zip(self.factors, sizes, strict=True):
            bound = distances_failure_bound(
                points=self.count, size=int(size), epsilon=self.epsilon
            )
            scores[f"bound/kept_{factor:g}"] = max(0.0, 1.0 - float(bound))
        title = f"{self.count} points of {self.size} dimensions, {self.draws} draws"
        columns = ("points", "projection", "factor", "dimensions", "worst", "kept")
        return Measured(scores, [Table(title, columns, rows), *curves])
