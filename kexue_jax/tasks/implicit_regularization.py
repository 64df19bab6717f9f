"""Task: which flow gradient descent follows, on a loss of two parameters."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.losses.gradient_penalty import gradient_penalty
from kexue_jax.tasks.analysis import Analysis, Measured

TIME = 20.0
"""How long flows and descents go on; the slowest error shrinks by e^24."""

Slope = Callable[[jax.Array], jax.Array]


def product_slope(target: float, weight: float = 0.0) -> Slope:
    r"""Returns the gradient of a loss in a and b, penalised or not.

    .. math:: E + \mu \|\nabla E\|^2, \qquad E = \tfrac{1}{2} (y - a b)^2

    Args:
      target: y.
      weight: :math:`\mu`, not negative.
    """

    def loss(params, extras, batch, rng):
        del batch, rng
        return 0.5 * jnp.square(target - params[0] * params[1]), (extras, {})

    whole = gradient_penalty(loss, weight=weight) if weight else loss
    return jax.grad(lambda params: whole(params, {}, {}, None)[0])


def descended(slope: Slope, start: jax.Array, rate: float, steps: int) -> jax.Array:
    """Returns the places of gradient descent, ``[steps + 1, 2]``."""

    def step(x, _):
        return x - rate * slope(x), x

    last, way = jax.lax.scan(step, start, None, steps)
    return jnp.concatenate([way, last[None]])


def flowed(slope: Slope, start: jax.Array, time: float, steps: int) -> jax.Array:
    """Returns the places of the flow against a slope, ``[steps + 1, 2]``.

    It is the method of Runge and Kutta of order 4, with even steps.
    """
    size = time / steps

    def step(x, _):
        one = slope(x)
        two = slope(x - 0.5 * size * one)
        three = slope(x - 0.5 * size * two)
        four = slope(x - size * three)
        return x - size / 6.0 * (one + 2.0 * two + 2.0 * three + four), x

    last, way = jax.lax.scan(step, start, None, steps)
    return jnp.concatenate([way, last[None]])


def strengthening(beta: float, rate: float = 1e-4, steps: int = 2000) -> jax.Array:
    r"""Returns how strong the implicit penalty of heavy-ball momentum is.

    On :math:`x^2 / 2` a step with the effective rate :math:`\eta` multiplies x by
    :math:`e^{-\eta (1 + c \eta / 2)}` to second order; this is c, which is 1 for
    gradient descent.

    Args:
      beta: of the momentum.
      rate: :math:`\eta`, the learning rate over 1 - beta.
      steps: until the ratio of two places is taken.
    """
    tx = optax.sgd(rate * (1.0 - beta), momentum=beta)

    def step(carry, _):
        x, state = carry
        updates, state = tx.update(x, state, x)
        after = optax.apply_updates(x, updates)
        return (after, state), -jnp.log(after / x) / rate

    start = jnp.ones(())
    _, speed = jax.lax.scan(step, (start, tx.init(start)), None, steps)
    return 2.0 * (speed[-1] - 1.0) / rate


class ImplicitRegularization(Analysis):
    r"""Ends of descent, of the flow of E and of that of :math:`E+\eta\|\nabla E\|^2/4`.

    Scores, for each rate r: ``<r>/descent``, ``/modified`` and ``/plain``, the
    :math:`a^2 + b^2` that is reached from `start`; ``starts/nearer``, by how many times
    the end of the modified flow is at least nearer to that of descent than the end of
    the plain one, at the middle rate over random starts in [1.5, 3.5]^2;
    ``error/plain_ratio`` and ``/modified_ratio``, by which the error of one step falls
    when the rate is halved; ``explicit/a``, ``/b``, ``/square``, where descent at a
    rate of 1e-4 ends with the explicit penalty; ``far/a`` and ``/b``, where `far_rate`
    ends; and ``momentum/<beta>``, as in `strengthening`.

    Args:
      start: a and b.
      target: y.
      rates: of descent, ascending.
      penalty: explicit, :math:`\mu`.
      far_rate: one too large for the analysis.
      betas: of the momentum.
      draws: random starts.
      fineness: steps of the flows per unit of time.

    Numerics: float64, by ``jax.enable_x64``.
    """

    def __init__(
        self,
        *,
        start: tuple[float, float] = (2.8, 3.5),
        target: float = 0.6,
        rates: tuple[float, ...] = (1e-3, 1e-2, 2.5e-2),
        penalty: float = 0.5,
        far_rate: float = 0.18,
        betas: tuple[float, ...] = (0.0, 0.5, 0.9),
        draws: int = 50,
        fineness: int = 1000,
    ):
        if not rates or min(rates) <= 0 or draws < 1 or fineness < 1:
            raise ValueError(
                "rates must be positive, draws and fineness at least 1; got "
                f"{tuple(rates)}, {draws}, {fineness}"
            )
        self.start, self.target, self.rates = tuple(start), target, tuple(rates)
        self.penalty, self.far_rate, self.betas = penalty, far_rate, tuple(betas)
        self.draws, self.fineness = draws, fineness

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores that the class names, ways, errors and ends."""
        with jax.enable_x64(True):
            return self._measure(rng)

    def _ends(self, starts, rate):
        """Places by way, ``[steps + 1, N, 2]``: of descent and of both flows."""
        plain = product_slope(self.target)
        modified = product_slope(self.target, rate / 4.0)
        fine = round(TIME * self.fineness)

        @jax.jit
        def ways(starts):
            each = lambda f: jax.vmap(f, out_axes=1)(starts)  # noqa: E731
            return {
                "descent": each(
                    lambda x: descended(plain, x, rate, round(TIME / rate))
                ),
                "modified": each(lambda x: flowed(modified, x, TIME, fine)),
                "plain": each(lambda x: flowed(plain, x, TIME, fine)),
            }

        return jax.device_get(ways(starts))

    def _errors(self, starts, sizes):
        """Mean distance of one step from both flows: names to ``[sizes]``."""
        plain = product_slope(self.target)

        def error(slope, size):
            def one(x):
                after = x - size * plain(x)
                return jnp.linalg.norm(after - flowed(slope, x, size, 20)[-1])

            return jnp.mean(jax.vmap(one)(starts))

        @jax.jit
        def errors():
            modified = [(product_slope(self.target, s / 4.0), s) for s in sizes]
            return {
                "plain": jnp.stack([error(plain, s) for s in sizes]),
                "modified": jnp.stack([error(*pair) for pair in modified]),
            }

        return {name: np.asarray(found) for name, found in errors().items()}

    def _measure(self, rng):
        scores, rows, shown = {}, [], {}
        start = jnp.array(self.start, jnp.float64)
        square = lambda x: np.sum(np.square(x), axis=-1)  # noqa: E731
        for rate in self.rates:
            ways = self._ends(start[None], rate)
            ends = {name: float(square(way[-1, 0])) for name, way in ways.items()}
            scores |= {f"{rate:g}/{name}": end for name, end in ends.items()}
            rows.append((rate, *(round(end, 4) for end in ends.values())))
            shown = ways  # of the largest rate
        starts = jax.random.uniform(rng, (self.draws, 2), jnp.float64, 1.5, 3.5)
        ends = self._ends(starts, self.rates[len(self.rates) // 2])
        by, near, far = (square(ends[n][-1]) for n in ("descent", "modified", "plain"))
        scores["starts/nearer"] = float(np.min(np.abs(far - by) / np.abs(near - by)))
        sizes = 4e-3 * 0.5 ** np.arange(5)
        errors = self._errors(starts, sizes)
        for name, error in errors.items():
            scores[f"error/{name}_ratio"] = float(error[-2] / error[-1])
        explicit = product_slope(self.target, self.penalty)
        path = np.asarray(
            jax.jit(lambda x: descended(explicit, x, 1e-4, round(TIME * 1e4)))(start)
        )
        scores["explicit/square"] = float(square(path[-1]))
        jumps = jax.jit(
            lambda x: descended(product_slope(self.target), x, self.far_rate, 10_000)
        )(start)
        for name, end in (("explicit", path[-1]), ("far", jumps[-1])):
            scores[f"{name}/a"], scores[f"{name}/b"] = map(float, end)
        for beta in self.betas:
            found = jax.jit(strengthening, static_argnums=0)(beta)
            scores[f"momentum/{beta:g}"] = float(found)
        columns = ("rate", *(f"{name}: a^2 + b^2" for name in shown))
        return Measured(
            scores,
            [
                self._ways(shown, path),
                Curves(
                    "Mean distance of one step from a flow",
                    [Series(f"{n} flow", sizes, e) for n, e in errors.items()],
                    "rate",
                    "distance",
                    log_x=True,
                    log_y=True,
                ),
                Table("Where the ways end", columns, rows),
                Table(
                    "Strength of the implicit penalty under momentum",
                    ("beta", "measured", "(1 + beta) / (1 - beta)"),
                    [
                        (
                            beta,
                            round(scores[f"momentum/{beta:g}"], 3),
                            round((1 + beta) / (1 - beta), 3),
                        )
                        for beta in self.betas
                    ],
                ),
            ],
        )

    def _ways(self, ways, explicit):
        """The ways of the largest rate and that of the explicit penalty, a and b."""
        titles = {
            "descent": f"descent at {self.rates[-1]:g}",
            "modified": "modified flow",
            "plain": "plain flow",
        }
        series = [
            Series(titles[name], *_thinned(way[:, 0]).T) for name, way in ways.items()
        ]
        penalised = f"descent with the penalty {self.penalty:g}"
        series.append(Series(penalised, *_thinned(explicit).T))
        a = np.geomspace(0.2, 1.5, 200)
        series.append(Series("least loss, a b = y", a, self.target / a))
        return Curves("Ways of a and b", series, "a", "b")


def _thinned(way: np.ndarray) -> np.ndarray:
    """Points of a way ``[N, 2]``, about 300, dense where it begins."""
    places = np.unique(np.geomspace(1, len(way), 300).astype(int)) - 1
    return way[places]
