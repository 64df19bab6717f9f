"""Task: where adaptive methods end on a problem made to mislead Adam."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured


def newest_weights(tx: optax.GradientTransformation, steps: int) -> jax.Array:
    """Returns how much of a second moment the newest square is, at each step.

    It is read off the updates u of a scalar under the gradients 1, 2, 1, 2 ...: where
    u = g / sqrt(v), the moment is v = (g / u)^2, and a moving average moves by its
    weight times g^2 - v.

    Args:
      tx: a direction g / sqrt(v), v being any moving average of squares.
      steps: how many, at least 1.

    Returns:
      ``[steps]``, the first of them 1.
    """
    grads = 1.0 + jnp.arange(steps) % 2

    def step(state, g):
        updates, state = tx.update(g, state, g)  # some ask for params
        return state, jnp.square(g / updates)

    _, moment = jax.lax.scan(step, tx.init(grads[0]), grads)
    before, square = moment[:-1], jnp.square(grads[1:])
    later = (moment[1:] - before) / (square - before)
    return jnp.concatenate([jnp.ones(1, later.dtype), later])


class AdamCounterexample(Analysis):
    r"""Descent on [-1, 1] under the gradients C, -1, -1, over and over.

    Their sum over a period is C - 2 > 0, so -1 is best and 1 is worst. The rate is
    :math:`0.1 / \sqrt{t}`. Starts are uniform in [-1, 1].

    Scores: ``<method>/least`` and ``/most``, where the starts end; ``/regret``, the
    mean loss of a step beyond that of -1, over all starts; and, for a method in
    `averages`, ``/newest``, the weight of the newest square at the last step.

    Args:
      methods: from a name to a direction, without a rate.
      averages: names of those that divide by the root of a moving average of squares.
      largest: C, above 2.
      steps: how many.
      starts: how many are drawn.

    Numerics: float64, by ``jax.enable_x64``.
    """

    def __init__(
        self,
        *,
        methods: dict[str, optax.GradientTransformation],
        averages: tuple[str, ...],
        largest: float = 3.0,
        steps: int = 10_000,
        starts: int = 100,
    ):
        if not methods or set(averages) - set(methods):
            raise ValueError(
                f"averages must be names of methods {tuple(methods)}, got {averages}"
            )
        if largest <= 2 or steps < 1 or starts < 1:
            raise ValueError(
                "largest must exceed 2, steps and starts be at least 1; got "
                f"{largest}, {steps}, {starts}"
            )
        self.averages, self.largest = tuple(averages), largest
        self.steps, self.starts = steps, starts
        self._methods = dict(methods)

    def _ways(self, tx, starts):
        """Places before each step and after the last ``[steps + 1, N]``."""
        count = jnp.arange(1, self.steps + 1)
        grads = jnp.where(count % 3 == 1, self.largest, -1.0)
        rates = 0.1 / jnp.sqrt(count)

        def step(carry, inputs):
            x, state = carry
            g, rate = inputs
            updates, state = tx.update(jnp.full_like(x, g), state, x)
            after = jnp.clip(x - rate * updates, -1.0, 1.0)
            return (after, state), x

        (last, _), ways = jax.lax.scan(step, (starts, tx.init(starts)), (grads, rates))
        regret = jnp.mean(grads[:, None] * (ways + 1.0))
        return jnp.concatenate([ways, last[None]]), regret

    def measure(self, rng: jax.Array) -> Measured:
        """Returns where each method ends, its way, and what it remembers."""
        with jax.enable_x64(True):
            return self._measure(rng)

    def _measure(self, rng):
        starts = jax.random.uniform(rng, (self.starts,), jnp.float64, -1.0, 1.0)
        found = jax.jit(
            lambda starts: {
                n: self._ways(tx, starts) for n, tx in self._methods.items()
            }
        )(starts)
        weights = jax.jit(
            lambda: {
                n: newest_weights(self._methods[n], self.steps) for n in self.averages
            }
        )()
        scores, rows = {}, []
        for name, (ways, regret) in found.items():
            ends = np.asarray(ways[-1])
            scores[f"{name}/least"] = float(ends.min())
            scores[f"{name}/most"] = float(ends.max())
            scores[f"{name}/regret"] = float(regret)
            rows.append(
                (name, *(round(float(x), 4) for x in (ends.min(), ends.max(), regret)))
            )
        for name, weight in weights.items():
            scores[f"{name}/newest"] = float(weight[-1])
        return Measured(
            scores, [*self._shown(found, weights), *self._tables(rows, weights)]
        )

    def _shown(self, found, weights):
        count = np.arange(self.steps + 1.0)
        ways = [
            Series(
                name,
                1.0 + count,
                *(np.asarray(f(way, axis=1)) for f in (np.median, np.min, np.max)),
            )
            for name, (way, _) in found.items()
        ]
        newest = [
            Series(name, 1.0 + count[:-1], np.asarray(weight))
            for name, weight in weights.items()
        ]
        return [
            Curves(
                "Median of all starts, -1 being best",
                ways,
                "step",
                "x",
                log_x=True,
            ),
            Curves(
                "Weight of the newest square, 1 - b_t",
                newest,
                "step t",
                "1 - b_t",
                log_x=True,
                log_y=True,
            ),
        ]

    def _tables(self, rows, weights):
        places = [t for t in (1, 2, 10, 100, 1000, 10_000) if t <= self.steps]
        decays = [
            (t, *(round(1.0 - float(weights[n][t - 1]), 5) for n in self.averages))
            for t in places
        ]
        return [
            Table("Ends", ("method", "least x", "greatest x", "regret"), rows),
            Table("Decay b_t of the second moment", ("step", *self.averages), decays),
        ]
