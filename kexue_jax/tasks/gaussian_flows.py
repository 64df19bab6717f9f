"""Task: normal distributions that flow to another down four metrics; no training."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.metrics.covariance import product, symmetric, transposed
from kexue_jax.metrics.gaussian import gaussian_bhattacharyya, gaussian_kl
from kexue_jax.metrics.gaussian_transport import (
    wasserstein2_geodesic,
    wasserstein2_squared,
)
from kexue_jax.tasks.analysis import Analysis, Measured


def _swapped_kl(mean_p, cov_p, mean_q, cov_q):
    return gaussian_kl(mean_q, cov_q, mean_p, cov_p)


METRICS = {
    "kl": gaussian_kl,
    "swapped_kl": _swapped_kl,
    "bhattacharyya": gaussian_bhattacharyya,
    "wasserstein": wasserstein2_squared,
}
SHOWN = {
    "kl": "KL(p || q)",
    "swapped_kl": "KL(q || p)",
    "bhattacharyya": "Bhattacharyya",
    "wasserstein": "W2 squared",
}


class Pair(NamedTuple):
    """Where p starts and the fixed q: means ``[2]``, covariances ``[2, 2]``."""

    mean_p: jax.Array | np.ndarray
    cov_p: jax.Array | np.ndarray
    mean_q: jax.Array | np.ndarray
    cov_q: jax.Array | np.ndarray


class Way(NamedTuple):
    """A flow: times ``[S]``, means ``[S, 2]``, covariances ``[S, 2, 2]``, values."""

    time: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    value: np.ndarray


def _parts(place):
    """Mean and covariance :math:`A A^T` of ``[6]``, which are a mean and A."""
    factor = place[2:].reshape(2, 2)
    return place[:2], symmetric(product(factor, transposed(factor)))


def gradient_flow(
    metric, pair: Pair, *, attempts: int, tolerance: float = 1e-6, stop: float = 1e-6
):
    r"""Follows :math:`\dot\theta = -\nabla_\theta D(p_\theta, q)` until D is small.

    The parameters are the mean and a square matrix A of the covariance
    :math:`A A^\top`, at first its Cholesky factor. For this choice the flow is that of
    the 2-Wasserstein geometry of normal distributions, and no turn of A changes it.
    Steps are those of Bogacki and Shampine, of order 3, as long as their error allows.

    Args:
      metric: ``(mean_p, cov_p, mean_q, cov_q) -> D``.
      pair: where it starts, and q.
      attempts: steps that are tried; one that errs too much is repeated shorter.
      tolerance: of a step, relative to the largest parameter.
      stop: D from which on p stays.

    Returns:
      Times ``[attempts]``, parameters ``[attempts, 6]`` after each, and values of D.
    """

    def value(place):
        return metric(*_parts(place), pair.mean_q, pair.cov_q)

    def slope(place):
        return -jax.grad(value)(place)

    def attempt(carry, _):
        time, place, first, step = carry
        second = slope(place + 0.5 * step * first)
        third = slope(place + 0.75 * step * second)
        there = place + step * (2.0 * first + 3.0 * second + 4.0 * third) / 9.0
        last = slope(there)
        off = step * (-5.0 * first + 6.0 * second + 8.0 * third - 9.0 * last) / 72.0
        ratio = jnp.max(jnp.abs(off)) / (tolerance * jnp.max(jnp.abs(place)))
        good = (ratio <= 1.0) & (value(place) > stop)
        bounded = jnp.where(jnp.isfinite(ratio), jnp.maximum(ratio, 1e-3), 1e3)
        after = (
            jnp.where(good, time + step, time),
            jnp.where(good, there, place),
            jnp.where(good, last, first),
            step * jnp.clip(0.9 * bounded ** (-1.0 / 3.0), 0.2, 5.0),
        )
        return after, (after[0], after[1], value(after[1]))

    factor = jnp.linalg.cholesky(pair.cov_p)
    start = jnp.concatenate([pair.mean_p, factor.reshape(4)])
    zero = jnp.zeros((), start.dtype)
    first = slope(start)
    step = 1e-3 / (1.0 + jnp.max(jnp.abs(first)))
    _, way = jax.lax.scan(attempt, (zero, start, first, step), length=attempts)
    return way


def _diffused(pair, time):
    """The law at a time of the Ornstein-Uhlenbeck process whose limit is q."""
    values, vectors = np.linalg.eigh(np.linalg.inv(pair.cov_q))
    decay = np.einsum(
        "ij,tj,kj->tik", vectors, np.exp(-values * time[:, None]), vectors
    )
    mean = pair.mean_q + np.einsum("tij,j->ti", decay, pair.mean_p - pair.mean_q)
    return mean, decay @ (pair.cov_p - pair.cov_q) @ decay + pair.cov_q


class GaussianFlows(Analysis):
    r"""Four flows from the same normal distributions to the same, in the plane.

    p moves, q stays; a flow goes down KL(p || q) (``kl``), KL(q || p)
    (``swapped_kl``), the Bhattacharyya distance or :math:`W_2^2`, see `gradient_flow`.
    Scores of each, over starts:

    - ``<flow>/left``: the greatest of all four metrics at the end;
    - ``<flow>/gradient_error``: the greatest error of the derivatives at the start
      against central differences, relative to the largest;
    - ``<flow>/swelling_least`` and ``_most``: the variance along the line of the two
      means, the greatest on the way over the greater of both ends;
    - ``<flow>/length_least`` and ``_most``: the length of the way, a sum of W2, over
      the distance of its ends;
    - ``kl/diffusion_error``: the greatest difference on the way of mean or covariance
      to the law of the Ornstein-Uhlenbeck process whose limit is q.

    Args:
      starts: pairs of p and q, drawn by the key.
      apart: distance of the means.
      condition: greatest ratio of variances within and between all of them.
      attempts: of steps, see `gradient_flow`.

    Numerics: float64, whatever JAX is set to.
    """

    def __init__(
        self,
        *,
        starts: int = 8,
        apart: float = 4.0,
        condition: float = 10.0,
        attempts: int = 800,
    ):
        if starts < 1 or attempts < 1:
            raise ValueError(
                f"starts and attempts must be positive, got {starts} and {attempts}"
            )
        if not apart > 0.0 or not condition >= 1.0:
            raise ValueError(
                f"apart must be positive and condition at least 1, got {apart} and "
                f"{condition}"
            )
        self.starts, self.apart = starts, apart
        self.condition, self.attempts = condition, attempts

    def pairs(self, rng: jax.Array) -> Pair:
        """Returns starts and targets, with a leading axis."""
        drawn = np.random.default_rng(np.asarray(jax.random.key_data(rng)))
        count = self.starts

        def covariances():
            angle = drawn.uniform(0.0, math.pi, count)
            turn = np.array([[np.cos(angle), -np.sin(angle)]])
            turn = np.concatenate([turn, [[np.sin(angle), np.cos(angle)]]])
            turn = np.moveaxis(turn, -1, 0)
            logs = math.log(self.condition) * drawn.uniform(-0.5, 0.5, (count, 2))
            return np.einsum("nij,nj,nkj->nik", turn, np.exp(logs), turn)

        angle = drawn.uniform(0.0, 2.0 * math.pi, count)
        away = self.apart * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return Pair(np.zeros((count, 2)), covariances(), away, covariances())

    def _followed(self, metric, pairs):
        """The way of each start, without repeated attempts."""
        follow = partial(gradient_flow, metric, attempts=self.attempts)
        time, place, value = jax.device_get(jax.jit(jax.vmap(follow))(pairs))
        ways = []
        for i in range(self.starts):
            moved = np.diff(time[i], prepend=0.0) > 0.0
            factor = place[i, moved, 2:].reshape(-1, 2, 2)
            start = Pair(*(part[i] for part in pairs))
            squares = factor @ np.swapaxes(factor, 1, 2)
            ways.append(
                Way(
                    np.concatenate([[0.0], time[i, moved]]),
                    np.concatenate([start.mean_p[None], place[i, moved, :2]]),
                    np.concatenate([start.cov_p[None], squares]),
                    value[i, moved],
                )
            )
        return ways

    def _gradient_error(self, metric, pairs):
        """Derivatives by mean and factor of p against central differences."""
        value = jax.jit(
            jax.vmap(lambda x, m, c: metric(*_parts(x), m, c), in_axes=(0, 0, 0))
        )
        slope = jax.jit(jax.grad(lambda x: jnp.sum(value(x, *pairs[2:]))))
        factor = np.linalg.cholesky(pairs.cov_p).reshape(-1, 4)
        place, width = np.concatenate([pairs.mean_p, factor], axis=1), 1e-5
        found = np.stack(
            [
                (value(place + e, *pairs[2:]) - value(place - e, *pairs[2:]))
                / (2.0 * width)
                for e in width * np.eye(6)[:, None]
            ],
            axis=1,
        )
        exact = np.asarray(slope(place))
        largest = np.abs(exact).max(axis=1)
        return float((np.abs(found - exact).max(axis=1) / largest).max())

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores that the class names, ellipses and curves."""
        with jax.enable_x64(True):
            return self._measure(self.pairs(rng))

    def _measure(self, pairs):
        scores: dict[str, float] = {}
        distance = jax.jit(lambda *ends: jnp.sqrt(wasserstein2_squared(*ends)))
        every = jax.jit(lambda *ends: jnp.stack([m(*ends) for m in METRICS.values()]))
        shown, rows = {}, []
        for name, metric in METRICS.items():
            ways = self._followed(metric, pairs)
            lengths, swellings, left, diffusion = [], [], [], []
            for i, way in enumerate(ways):
                pair = Pair(*(part[i] for part in pairs))
                ends = (way.mean[-1], way.covariance[-1], pair.mean_q, pair.cov_q)
                left.append(float(np.max(every(*ends))))
                parts = np.asarray(
                    distance(
                        way.mean[:-1],
                        way.covariance[:-1],
                        way.mean[1:],
                        way.covariance[1:],
                    )
                )
                whole = distance(*pair[:2], *ends[:2])
                lengths.append(float(parts.sum() / whole))
                swelling = self._swelling(way, pair)
                swellings.append(float(swelling.max()))
                mean, covariance = _diffused(pair, way.time)
                diffusion.append(
                    max(
                        np.abs(mean - way.mean).max(),
                        np.abs(covariance - way.covariance).max(),
                    )
                )
                if not i:
                    share = np.concatenate([[0.0], parts.cumsum()]) / parts.sum()
                    shown[name] = way, share, swelling
            scores |= {
                f"{name}/left": max(left),
                f"{name}/gradient_error": self._gradient_error(metric, pairs),
                f"{name}/swelling_least": min(swellings),
                f"{name}/swelling_most": max(swellings),
                f"{name}/length_least": min(lengths),
                f"{name}/length_most": max(lengths),
            }
            if name == "kl":
                scores["kl/diffusion_error"] = max(diffusion)
            rows += [
                (SHOWN[name], i, len(ways[i].time) - 1, round(a, 4), round(b, 4))
                for i, (a, b) in enumerate(zip(swellings, lengths, strict=True))
            ]
        first = Pair(*(part[0] for part in pairs))
        columns = ("flow of", "start", "steps", "swelling", "length")
        return Measured(
            scores, [*self._shown(shown, first), Table("Ways", columns, rows)]
        )

    def _swelling(self, way, pair):
        """Variance along the line of the means, over the greater of both ends."""
        line = (pair.mean_q - pair.mean_p) / self.apart
        most = max(line @ pair.cov_p @ line, line @ pair.cov_q @ line)
        return np.einsum("i,sij,j->s", line, way.covariance, line) / most

    def _shown(self, shown, pair):
        angle = np.linspace(0.0, 2.0 * math.pi, 100)
        circle = np.stack([np.cos(angle), np.sin(angle)])

        def ellipses(title, means, covariances, labels):
            series = []
            rings = np.linalg.cholesky(covariances) @ circle + means[..., None]
            for label, (x, y) in zip(labels, rings, strict=True):
                series.append(Series(label, x, y))
            return Curves(title, series)

        shares = np.linspace(0.0, 1.0, 7)
        labels = [f"{share:.0%} of the way" for share in shares]
        found = []
        for name, (way, share, _) in shown.items():
            at = np.abs(share[None] - shares[:, None]).argmin(axis=1)
            title = f"Flow of {SHOWN[name]}"
            found.append(ellipses(title, way.mean[at], way.covariance[at], labels))
        ends = (jnp.asarray(part)[None] for part in pair)
        geodesic = wasserstein2_geodesic(*ends, jnp.asarray(shares))
        found.append(
            ellipses("The shortest way in W2", *map(np.asarray, geodesic), labels)
        )
        return [
            *found,
            Curves(
                "Variance along the line of the means, over the greater end",
                [Series(SHOWN[n], share, s) for n, (_, share, s) in shown.items()],
                "share of the way",
                log_y=True,
            ),
            Curves(
                "What a flow goes down",
                [Series(SHOWN[n], w.time[1:], w.value) for n, (w, *_) in shown.items()],
                "time",
                "metric",
                log_x=True,
                log_y=True,
            ),
        ]
