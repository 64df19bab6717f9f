"""Task: how many steps a clipped step and a fixed one take where curvature grows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured


class Toy(NamedTuple):
    """A function of one number that grows with x > 0 and is least at 0.

    Its curvature is at most ``l0 + l1 |slope|``, with equality somewhere.
    """

    shown: str
    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]
    curvature: Callable[[Any], Any]
    l0: float
    l1: float


TOYS = {
    "quartic": Toy(
        "x^4", lambda x: x**4, lambda x: 4 * x**3, lambda x: 12 * x**2, 16.0, 1.0
    ),
    "cosh": Toy("cosh x", jnp.cosh, jnp.sinh, jnp.cosh, 1.0, 1.0),
    "exp": Toy("exp(x) - x", lambda x: jnp.exp(x) - x, jnp.expm1, jnp.exp, 1.0, 1.0),
}


def steps_to_rest(
    slope: Callable[[jax.Array], jax.Array],
    tx: optax.GradientTransformation,
    start: jax.Array,
    *,
    tolerance: float = 1e-3,
    most: int = 2_000_000,
) -> jax.Array:
    """Returns how many steps a transform takes until the slope is small.

    Args:
      slope: the derivative of a function of one number.
      tx: gives the step to subtract; its state is kept.
      start: ``[]``.
      tolerance: of the absolute slope.
      most: steps after which it gives up.

    Returns:
      ``[]`` int32, at most `most`.
    """

    def far(carry):
        x, _, count = carry
        return (jnp.abs(slope(x)) > tolerance) & (count < most)

    def step(carry):
        x, state, count = carry
        updates, state = tx.update(slope(x), state, x)
        return x - updates, state, count + 1

    begin = (start, tx.init(start), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(far, step, begin)[2]


def stable_rate(toy: Toy, start: float) -> float:
    """Returns the largest rate whose first step from `start` > 0 does not climb."""
    level, low, high = float(toy.value(start)), -1.0, 0.0
    while float(toy.value(low)) < level:
        low *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        climbs = float(toy.value(middle)) > level
        low, high = (middle, high) if climbs else (low, middle)
    return (start - high) / float(toy.slope(start))


class ClippedSteps(Analysis):
    r"""Mean counts of steps until :math:`|f'| \le 10^{-3}`, over random starts.

    For a function and a place x, starts are uniform in [x / 2, x]. Fixed rates go up to
    0.999 of the largest that does not climb from x, and the best of them counts; the
    clipped step :math:`1 / (L_0 + L_1 |f'|)` has nothing to tune.

    Scores: ``<function>/<x>_clipped``, ``_fixed`` and ``_share``, the best rate over
    the largest; ``<function>/hessian``, the most that
    :math:`f'' / (L_0 + L_1 |f'|)` is on [-reach, reach], and ``/displacement``, the
    most that :math:`|f'(y) - f'(x)| / ((L_0 + L_1 |f'(x)|) |y - x|)` is.

    Args:
      method: ``method(l0, l1)`` is the transform of the clipped step.
      places: of each function by name, where the starts end.
      draws: starts for each place.
      rates: how many fixed rates, from a tenth of the largest.
      reach: of the grid.

    Numerics: float64, by ``jax.enable_x64``.
    """

    def __init__(
        self,
        *,
        method: Callable[[float, float], optax.GradientTransformation],
        places: dict[str, tuple[float, ...]],
        draws: int = 200,
        rates: int = 25,
        reach: float = 10.0,
    ):
        unknown = set(places) - set(TOYS)
        if unknown or not places:
            raise ValueError(f"places must be of {tuple(TOYS)}, got {tuple(places)}")
        if draws < 1 or rates < 2:
            raise ValueError(f"draws >= 1, rates >= 2 are needed: {draws}, {rates}")
        self.draws, self.rates, self.reach = draws, rates, reach
        self._method = method
        self._places = {name: tuple(places[name]) for name in TOYS if name in places}

    def _counts(self, toy, place, starts):
        """Counts of the clipped step ``[N]`` and of fixed ones ``[R, N]``; rates."""
        shares = np.geomspace(0.1, 0.999, self.rates)
        clipped = self._method(toy.l0, toy.l1)

        @jax.jit
        def count(starts, rates):
            ours = jax.vmap(lambda x: steps_to_rest(toy.slope, clipped, x))(starts)
            fixed = jax.vmap(
                lambda rate: jax.vmap(
                    lambda x: steps_to_rest(toy.slope, optax.scale(rate), x)
                )(starts)
            )(rates)
            return ours, fixed

        return *count(starts, shares * stable_rate(toy, place)), shares

    def _conditions(self, toy):
        """The most of both ratios, 1 where a condition just holds."""
        x = np.linspace(-self.reach, self.reach, 401)
        slope, curve = np.asarray(toy.slope(x)), np.asarray(toy.curvature(x))
        bound = toy.l0 + toy.l1 * np.abs(slope)
        apart = np.abs(x[:, None] - x[None])
        change = np.abs(slope[:, None] - slope[None])
        ratio = change / np.where(apart > 0, apart, 1.0) / bound[None]
        return float(np.max(curve / bound)), float(ratio.max())

    def _path(self, toy, tx, start, steps):
        def step(carry, _):
            x, state = carry
            g = toy.slope(x)
            updates, state = tx.update(g, state, x)
            return (x - updates, state), jnp.abs(g)

        return jax.lax.scan(step, (start, tx.init(start)), None, steps)[1]

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores that the class names, counts by place and two paths."""
        with jax.enable_x64(True):
            return self._measure(rng)

    def _measure(self, rng):
        scores, rows, series = {}, [], []
        for index, (name, places) in enumerate(self._places.items()):
            toy, means = TOYS[name], []
            for order, place in enumerate(places):
                key = jax.random.fold_in(jax.random.fold_in(rng, index), order)
                starts = jax.random.uniform(
                    key, (self.draws,), jnp.float64, place / 2, place
                )
                ours, fixed, shares = self._counts(toy, place, starts)
                by_rate = np.mean(np.asarray(fixed), axis=1)
                best = int(np.argmin(by_rate))
                pair = float(np.mean(np.asarray(ours))), float(by_rate[best])
                means.append(pair)
                which = f"{name}/{place:g}"
                scores[f"{which}_clipped"], scores[f"{which}_fixed"] = pair
                scores[f"{which}_share"] = float(shares[best])
                rows.append(
                    (toy.shown, place, *(round(n, 1) for n in pair), shares[best])
                )
            for kind, counts in zip(
                ("clipped", "fixed"), np.transpose(means), strict=True
            ):
                series.append(Series(f"{toy.shown}, {kind}", np.array(places), counts))
            hessian, displacement = self._conditions(toy)
            scores[f"{name}/hessian"] = hessian
            scores[f"{name}/displacement"] = displacement
        rows = [(*row[:4], round(float(row[4]), 3)) for row in rows]
        columns = ("function", "starts up to", "clipped", "best fixed", "of largest")
        return Measured(
            scores,
            [
                Curves(
                    "Steps to a slope of 1e-3",
                    series,
                    "starts in [x / 2, x] up to x",
                    "mean steps",
                    log_x=True,
                    log_y=True,
                ),
                self._paths(next(iter(self._places))),
                Table("Mean steps over starts", columns, rows),
            ],
        )

    def _paths(self, name):
        """The slope along both ways from the last place of a function."""
        toy, start = TOYS[name], float(self._places[name][-1])
        ways = {
            "clipped": self._method(toy.l0, toy.l1),
            "fixed, 0.999 of the largest rate": optax.scale(
                0.999 * stable_rate(toy, start)
            ),
            "fixed, a tenth of it": optax.scale(0.1 * stable_rate(toy, start)),
        }
        steps = 2000
        shown = [
            Series(
                kind,
                np.arange(1.0, steps + 1.0),
                np.asarray(self._path(toy, tx, jnp.asarray(start), steps)),
            )
            for kind, tx in ways.items()
        ]
        title = f"Slope of {toy.shown} on the way from {start:g}"
        return Curves(title, shown, "step", "absolute slope", log_x=True, log_y=True)
