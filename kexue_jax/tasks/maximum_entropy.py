"""Task: points that move to where their entropy is greatest."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Curves, Exhibit, Series
from kexue_jax.metrics.knn_entropy import knn_entropy


def standardised(x: jax.Array) -> jax.Array:
    """Returns ``[n, d]`` with mean 0 and variance 1 on each axis, 0 where it is 0.

    This is batch normalisation as it trains, without scale and offset.
    """
    x = x - jnp.mean(x, axis=0, keepdims=True)
    variance = jnp.mean(jnp.square(x), axis=0, keepdims=True)
    some = variance > 0.0
    return jnp.where(some, x * jax.lax.rsqrt(jnp.where(some, variance, 1.0)), 0.0)


def as_they_are(x: jax.Array) -> jax.Array:
    """Returns points without a constraint."""
    return x


def distance_to_normal(x: np.ndarray) -> float:
    """Returns the statistic of Kolmogorov and Smirnov of ``[n]`` for N(0, 1).

    It is the greatest distance of the two distribution functions, from 0 to 1.
    """
    chance = np.asarray(jax.scipy.special.ndtr(np.sort(x)), np.float64)
    steps = np.arange(len(x) + 1) / len(x)
    return float(max((steps[1:] - chance).max(), (chance - steps[:-1]).max()))


class MaximumEntropy:
    r"""Maximises `knn_entropy` over n points themselves, from a uniform start.

    Of all distributions with given variances the normal one has the greatest entropy.
    Scores, of the points ``now`` and at the ``start``:

    - ``<when>/ks``, the greatest over axes of `distance_to_normal`, and
      ``<when>/fourth``, the least mean of fourth powers, 3 for a normal distribution,
      both of points brought to mean 0 and variance 1;
    - ``<when>/correlation``, the greatest size of one of two axes;
    - ``<when>/spread``, the root of the mean variance of an axis;
    - ``<when>/entropy``, the estimate, and ``<when>/excess``, that less the greatest
      entropy that points of this spread can have.

    Args:
      constraint: what points go through before their entropy is taken, such as
        `standardised`.
      count: n.
      size: d, at least 2.
    """

    def __init__(
        self,
        *,
        constraint: Callable[[jax.Array], jax.Array] = standardised,
        count: int = 512,
        size: int = 2,
    ):
        if count < 3 or size < 2:
            raise ValueError(
                f"count must be at least 3 and size at least 2, got {count} and {size}"
            )
        self.constraint, self.count, self.size = constraint, count, size

    def init(self, rng: jax.Array) -> tuple[dict, dict]:
        """Returns points of a uniform distribution of variance 1, twice."""
        edge = math.sqrt(3.0)
        shape = (self.count, self.size)
        points = jax.random.uniform(rng, shape, minval=-edge, maxval=edge)
        return {"points": points}, {"start": points}

    def batch(self, step: int) -> dict:
        """Returns nothing: the points are all there is."""
        del step
        return {}

    def loss(self, params: Any, extras: Any, batch: Any, rng: Any) -> tuple:
        """Returns the estimate with its sign changed."""
        del batch, rng
        entropy = knn_entropy(self.constraint(params["points"]), implementation="xla")
        return -entropy, (extras, {"entropy": entropy})

    def _scores(self, points) -> dict[str, float]:
        seen = self.constraint(points)
        x, z = (np.asarray(a, np.float64) for a in (seen, standardised(points)))
        entropy = float(knn_entropy(seen, implementation="xla"))
        variance = float(x.var(axis=0).mean())
        greatest = 0.5 * self.size * math.log(2.0 * math.pi * math.e * variance)
        correlations = z.T @ z / len(z) - np.eye(self.size)
        return {
            "ks": max(distance_to_normal(axis) for axis in z.T.astype(np.float32)),
            "fourth": float((z**4).mean(axis=0).min()),
            "correlation": float(np.abs(correlations).max()),
            "spread": math.sqrt(variance),
            "entropy": entropy,
            "excess": entropy - greatest,
        }

    def evaluate(self, params: Any, extras: Any) -> dict[str, float]:
        """Returns the scores that the class names."""
        return {
            f"{when}/{name}": value
            for when, points in (("now", params["points"]), ("start", extras["start"]))
            for name, value in self._scores(points).items()
        }

    def exhibits(self, params: Any, extras: Any) -> list[Exhibit]:
        """Returns the points, and the distribution functions of their first axis."""
        now, start = (
            np.asarray(self.constraint(points), np.float64)
            for points in (params["points"], extras["start"])
        )
        steps = (np.arange(self.count) + 0.5) / self.count
        first = {
            name: np.sort(np.asarray(standardised(jnp.asarray(x)))[:, 0])
            for name, x in (("start", start), ("now", now))
        }
        grid = np.linspace(-3.5, 3.5, 200)
        normal = Series("normal", grid, np.asarray(jax.scipy.special.ndtr(grid)))
        return [
            Curves(
                "Points, by their first two axes",
                [Series("start", *start[:, :2].T), Series("now", *now[:, :2].T)],
                points=True,
            ),
            Curves(
                "Distribution function of the first axis, of mean 0 and variance 1",
                [*(Series(name, x, steps) for name, x in first.items()), normal],
                "value",
                "share below",
            ),
        ]

    def fingerprint(self) -> dict[str, int]:
        """Returns how many points there are, and of how many axes."""
        return {"count": self.count, "size": self.size}
