"""Task: statements about a distance between normal distributions; nothing to train."""

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.metrics.gaussian_transport import optimal_map, wasserstein2_squared
from kexue_jax.tasks.analysis import Analysis, Measured


class GaussianTransport(Analysis):
    r"""Compares the closed form of :math:`W_2^2` with the cost of real couplings.

    Pairs of random normal distributions are drawn. For each, samples x of p are moved
    by a map to q, and the mean of :math:`\|x - y\|^2` is the cost of that coupling:

    - ``map``: the symmetric map of the theory, whose cost should be the closed form;
    - ``cholesky``: another linear map with the same image, so a coupling that costs at
      least as much;
    - ``independent``: y drawn apart from x.

    The scores of the group ``couplings``:

    - ``map_error``: the largest difference between the map's cost and the closed form,
      in standard errors of the sample;
    - ``image_error``: the largest relative difference between the covariance that the
      map gives and that of q;
    - ``cholesky_excess``, ``independent_excess``: the least cost of the other
      couplings, relative to the closed form, less 1;
    - ``corrupted_error``: the map's error against the closed form without its cross
      term, which a test of any power must find far off.

    Args:
      dimension: D.
      pairs: pairs of distributions.
      samples: drawn of each.
      condition: ratio of the largest to the least eigenvalue of each covariance.
    """

    def __init__(
        self,
        *,
        dimension: int = 16,
        pairs: int = 64,
        samples: int = 20000,
        condition: float = 100.0,
    ):
        for name, value in (("dimension", dimension), ("pairs", pairs)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if samples < 2 or condition < 1:
            raise ValueError(
                f"samples must be at least 2 and condition at least 1, got {samples} "
                f"and {condition}"
            )
        self.dimension, self.pairs = dimension, pairs
        self.samples, self.condition = samples, condition
        self._measure = jax.jit(self._one)

    def _draw(self, rng):
        """A mean ``[D]`` and a covariance ``[D, D]`` of the stated condition."""
        keys = jax.random.split(rng, 3)
        basis = jnp.linalg.qr(jax.random.normal(keys[0], 2 * (self.dimension,)))[0]
        logs = jax.random.uniform(keys[1], (self.dimension,))
        values = jnp.exp(jnp.log(self.condition) * (logs - 0.5))
        mean = jax.random.normal(keys[2], (self.dimension,))
        return mean, jnp.einsum(
            "ij,j,kj->ik", basis, values, basis, precision=jax.lax.Precision.HIGHEST
        )

    def _one(self, rng):
        """What is measured on one pair of distributions."""
        exact = jax.lax.Precision.HIGHEST
        keys = jax.random.split(rng, 4)
        mean_p, cov_p = self._draw(keys[0])
        mean_q, cov_q = self._draw(keys[1])
        closed = wasserstein2_squared(mean_p, cov_p, mean_q, cov_q)
        chol_p, chol_q = jnp.linalg.cholesky(cov_p), jnp.linalg.cholesky(cov_q)
        noise = jax.random.normal(keys[2], (self.samples, self.dimension))
        apart = jax.random.normal(keys[3], noise.shape)
        centred = jnp.matmul(noise, chol_p.T, precision=exact)
        matrix = optimal_map(cov_p, cov_q)
        image = jnp.matmul(jnp.matmul(matrix, cov_p, precision=exact), matrix.T)
        moved = {
            "map": jnp.matmul(centred, matrix.T, precision=exact),
            "cholesky": jnp.matmul(noise, chol_q.T, precision=exact),
            "independent": jnp.matmul(apart, chol_q.T, precision=exact),
        }
        found = {"closed": closed}
        for name, shift in moved.items():
            shifted = centred - shift + (mean_p - mean_q)[None]
            costs = jnp.sum(jnp.square(shifted), axis=-1)
            found[name] = jnp.mean(costs)
            found[f"{name}_error"] = jnp.std(costs) / jnp.sqrt(self.samples)
        found["image_error"] = jnp.linalg.norm(image - cov_q) / jnp.linalg.norm(cov_q)
        found["uncrossed"] = (
            jnp.sum(jnp.square(mean_p - mean_q)) + jnp.trace(cov_p) + jnp.trace(cov_q)
        )
        return found

    def measure(self, rng) -> Measured:
        """Returns the scores that the class names, and the way from p to q."""
        rows = [
            jax.device_get(self._measure(jax.random.fold_in(rng, i)))
            for i in range(self.pairs)
        ]
        found = {name: np.array([row[name] for row in rows]) for name in rows[0]}
        closed, error = found["closed"], found["map_error"]
        scores = {
            "map_error": np.max(np.abs(found["map"] - closed) / error),
            "corrupted_error": np.min(
                np.abs(found["map"] - found["uncrossed"]) / error
            ),
            "image_error": np.max(found["image_error"]),
            "cholesky_excess": np.min(found["cholesky"] / closed) - 1.0,
            "independent_excess": np.min(found["independent"] / closed) - 1.0,
        }
        named = {f"couplings/{name}": float(value) for name, value in scores.items()}
        return Measured(named, self._shown(found))

    def _shown(self, found):
        """The costs against the closed form, and the way from p to q."""
        costs = [
            Series(name, found["closed"], found[name])
            for name in ("map", "cholesky", "independent")
        ]
        line = np.sort(found["closed"])
        rows = [
            [i, *(round(float(found[k][i]), 4) for k in ("closed", "map", "cholesky"))]
            for i in range(min(10, self.pairs))
        ]
        return [
            Curves(
                "Cost of couplings against the closed form",
                [*costs, Series("equal", line, line)],
                "closed form",
                "mean squared distance",
                points=True,
            ),
            self._geodesic(),
            Table("The first pairs", ["pair", "closed form", "map", "cholesky"], rows),
        ]

    def _geodesic(self) -> Curves:
        """The ellipses on the shortest way between two normals in the plane."""
        mean_p, mean_q = np.array([-3.0, 0.0]), np.array([3.0, 1.0])
        cov_p, cov_q = (
            np.array([[1.0, 0.8], [0.8, 1.0]]),
            np.array([[0.1, 0], [0, 2.0]]),
        )
        matrix = np.asarray(optimal_map(jnp.asarray(cov_p), jnp.asarray(cov_q)))
        angle = np.linspace(0.0, 2 * np.pi, 100)
        circle = np.stack([np.cos(angle), np.sin(angle)])
        series = []
        for t in np.linspace(0, 1, 6):
            step = (1 - t) * np.eye(2) + t * matrix
            ring = step @ np.linalg.cholesky(cov_p) @ circle
            x, y = ring + ((1 - t) * mean_p + t * mean_q)[:, None]
            series.append(Series(f"t = {t:.1f}", x, y))
        return Curves(
            "The shortest way between two normal distributions", series, "", ""
        )
