"""Task: zeroth-order gradients of accuracy beside policy gradients; variances."""

from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.zeroth_order import zeroth_order_gradient
from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.losses.score_function import (
    expected_reward_loss,
    optimal_baseline,
    softmax_score_norms,
)
from kexue_jax.tasks.analysis import Analysis, Measured

REWARDS = (4.0, 5.0, 6.0, -10.0, 10.0, 15.0)
"""Two groups that share the mean 5 and differ much in variance, as in the post."""

KINDS = (
    ("central", "normal"),
    ("forward", "normal"),
    ("one_point", "normal"),
    ("central", "rademacher"),
    ("central", "sphere"),
)


class Rows(Protocol):
    """A table: ``inputs`` ``[N, D]``, ``label`` ``[N]`` below ``classes``."""

    inputs: np.ndarray
    label: np.ndarray
    classes: int

    def fingerprint(self) -> dict[str, Any]: ...


class ZerothOrderCosine(Analysis):
    r"""How parallel two ways to ascend accuracy are, and how much estimates vary.

    The model is a linear softmax, its weights normal. One gradient is that of the
    accuracy of the likeliest class, which is piecewise constant, by central differences
    along normal directions; the other that of the mean probability of the right class
    at a temperature :math:`\tau`, exact.

    Scores: ``cosine/<deviation>`` at temperature 1, ``cosine/<deviation>_least`` of the
    worst weights; ``by_temperature/<tau>_<deviation>``;
    ``variance/<estimator>_<distribution>_<deviation>``, of a linear function, over what
    theory says; ``baseline/...``: variances of softmax policies by their logits, exact,
    as shares of those without a baseline, and how often each is least.

    Args:
      data: the table.
      deviations: those of the directions.
      temperatures: of the policy gradient, in the exhibit.
      places: how many weights are drawn.
      directions: of each estimate of the gradient of accuracy.
      estimates: of each variance, of one direction each.
      policies: how many softmax distributions over six rewards are drawn.
      chunk: directions at once; divides `directions`.
    """

    def __init__(
        self,
        *,
        data: Rows,
        deviations: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0),
        temperatures: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0),
        places: int = 8,
        directions: int = 40_000,
        estimates: int = 20_000,
        policies: int = 1000,
        chunk: int = 1000,
    ):
        self.data = data
        self.deviations, self.temperatures = tuple(deviations), tuple(temperatures)
        self.places, self.directions, self.chunk = places, directions, chunk
        self.estimates, self.policies = estimates, policies
        self._cosines = jax.jit(self._one_place)
        self._spread = jax.jit(self._variance, static_argnums=(1, 2))
        self._baselines = jax.jit(self._policies)

    def _scores(self, params):
        return jnp.dot(self.data.inputs, params["kernel"]) + params["bias"][None]

    def _accuracy(self, params):
        chosen = jnp.argmax(self._scores(params), axis=-1)
        return jnp.mean(chosen == self.data.label)

    def _expected(self, params, temperature):
        reward = jax.nn.one_hot(self.data.label, self.data.classes)
        return -expected_reward_loss(self._scores(params) / temperature, reward)

    def _one_place(self, rng):
        """Cosines at one place, ``[temperatures, deviations]``."""
        first, second, third = jax.random.split(rng, 3)
        size = self.data.inputs.shape[1], self.data.classes
        params = {
            "kernel": jax.random.normal(first, size),
            "bias": jax.random.normal(second, size[1:]),
        }

        def flat(tree):
            vector = jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])
            length = jnp.linalg.norm(vector)
            return vector / jnp.where(length > 0.0, length, 1.0)

        def estimated(deviation):
            return flat(
                zeroth_order_gradient(
                    self._accuracy,
                    params,
                    third,
                    deviation=deviation,
                    directions=self.directions,
                    chunk=self.chunk,
                )
            )

        found = jax.lax.map(estimated, jnp.array(self.deviations))
        slope = jax.grad(self._expected)
        exact = jnp.stack([flat(slope(params, tau)) for tau in self.temperatures])
        return jnp.einsum("td,ed->te", exact, found, precision="highest")

    def _variance(self, rng, estimator, distribution, deviation):
        """Variance of one direction's estimates of a linear function, over theory's."""
        size = (self.data.inputs.shape[1] + 1) * self.data.classes
        first, second = jax.random.split(rng)
        slope, place = jax.random.normal(first, (size,)), jnp.zeros(size)

        def linear(x):
            return jnp.dot(slope, x, precision="highest") + 1.0

        one = partial(
            zeroth_order_gradient,
            linear,
            place,
            deviation=deviation,
            estimator=estimator,
            distribution=distribution,
        )
        found = jax.vmap(one)(jax.random.split(second, self.estimates))
        spread = jnp.sum(jnp.var(found, axis=0))
        near = size + 1 if distribution == "normal" else size - 1
        theory = near * jnp.sum(jnp.square(slope))
        if estimator == "one_point":
            theory += size * jnp.square(linear(place) / deviation)
        return spread, theory

    def _policies(self, rng):
        """Variances by policy with no, mean and optimal baseline, ``[P, 3]``."""
        logits = jax.random.normal(rng, (self.policies, len(REWARDS)))
        p = jax.nn.softmax(logits)
        reward = jnp.broadcast_to(jnp.array(REWARDS), logits.shape)
        norms = softmax_score_norms(logits)
        mean = jnp.sum(p * reward, axis=-1, keepdims=True)
        best = optimal_baseline(reward, norms, p)
        gradient = p * (reward - mean)
        baselines = jnp.stack([jnp.zeros_like(mean), mean, best])
        share = (p * norms)[None]
        squares = jnp.sum(share * jnp.square(reward[None] - baselines), axis=-1)
        return (squares - jnp.sum(jnp.square(gradient), axis=-1)[None]).T

    def measure(self, rng: jax.Array) -> Measured:
        """Returns cosines, variances and baselines, and curves of them."""
        places, variances, policies = jax.random.split(rng, 3)
        keys = jax.random.split(places, self.places)
        cosines = np.stack([np.asarray(self._cosines(key)) for key in keys])
        usual = self.temperatures.index(1.0)
        scores: dict[str, float] = {}
        for e, deviation in enumerate(self.deviations):
            here = cosines[:, usual, e]
            scores[f"cosine/{deviation:g}"] = here.mean()
            scores[f"cosine/{deviation:g}_least"] = here.min()
            for t, tau in enumerate(self.temperatures):
                name = f"by_temperature/{tau:g}_{deviation:g}"
                scores[name] = cosines[:, t, e].mean()
        series, x = [], np.array(self.deviations)
        for number, (estimator, distribution) in enumerate(KINDS):
            key = jax.random.fold_in(variances, number)
            found = np.array(
                [self._spread(key, estimator, distribution, e) for e in x], np.float64
            )
            name = f"{estimator}_{distribution}"
            for deviation, (spread, theory) in zip(x, found, strict=True):
                scores[f"variance/{name}_{deviation:g}"] = spread / theory
            series.append(Series(name, x, found[:, 0]))
            series.append(Series(f"{name}, theory", x, found[:, 1]))
        spreads = np.asarray(self._baselines(policies), np.float64)
        names = ("none", "mean", "optimal")
        for name, column in zip(names, spreads.T, strict=True):
            scores[f"baseline/{name}"] = column.mean() / spreads[:, 0].mean()
        room = 1.0 + 1e-4
        least_by = spreads[:, 2] <= room * spreads.min(axis=1)
        scores["baseline/optimal_is_least"] = float(np.mean(least_by))
        worse = spreads[:, 1] > spreads[:, 0]
        scores["baseline/mean_is_worse_than_none"] = float(np.mean(worse))
        rows = [[name, round(float(scores[f"baseline/{name}"]), 4)] for name in names]
        by_tau = [
            Series(f"temperature {tau:g}", x, cosines[:, t].mean(axis=0))
            for t, tau in enumerate(self.temperatures)
        ]
        least = Series("temperature 1, least", x, cosines[:, usual].min(axis=0))
        return Measured(
            scores,
            [
                Curves(
                    "Cosine of zeroth-order and policy gradient",
                    [*by_tau, least],
                    "deviation",
                    "cosine",
                    log_x=True,
                ),
                Curves(
                    "Variance of estimates of a linear function",
                    series,
                    "deviation",
                    "variance",
                    log_x=True,
                    log_y=True,
                ),
                Table("Variance by baseline", ("baseline", "share"), rows),
            ],
        )

    def fingerprint(self) -> dict[str, Any]:
        """Returns the settings and what the table is."""
        return super().fingerprint() | self.data.fingerprint()
