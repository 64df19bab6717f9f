"""Task: optimizers in the bent valley of Rosenbrock's function, at their best rates."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured


def rosenbrock(x: jax.Array) -> jax.Array:
    """Returns 100 (x1 - x0^2)^2 + (1 - x0)^2 of ``[2]``; it is least, 0, at (1, 1)."""
    return 100.0 * jnp.square(x[1] - jnp.square(x[0])) + jnp.square(1.0 - x[0])


def _around(wrap: Callable, inner: Callable) -> Callable:
    """A transform that wraps another, of a learning rate."""
    return lambda learning_rate: wrap(inner(learning_rate=learning_rate))


class Rosenbrock(Analysis):
    """Loss by step of optimizers, from the same random starts, at the best of rates.

    Starts are uniform in [-2, 2] x [-1, 3]; rates fall to 0 along a cosine. The best
    rate is that with the least loss that nine in ten starts reach at the end; one that
    is not finite counts as infinite.

    Scores: ``<method>/rate``, ``<method>/loss``, the decimal logarithm of what nine in
    ten reach, from -30 to 30, and ``<method>/solved``, the share of starts that end
    with a loss below 1e-4.

    Args:
      methods: from a name to a transform, called with ``learning_rate=``.
      rates: of each method by name.
      wrappers: from a name to a transform of the method `wrapped`, such as a lookahead;
        it shares the method's rates.
      wrapped: a name of `methods`.
      steps: how many.
      starts: how many are drawn.

    Numerics: float64, by ``jax.enable_x64``.
    """

    def __init__(
        self,
        *,
        methods: dict[str, Callable[..., optax.GradientTransformation]],
        rates: dict[str, tuple[float, ...]],
        wrappers: dict[str, Callable[..., optax.GradientTransformation]] | None = None,
        wrapped: str = "adam",
        steps: int = 5000,
        starts: int = 100,
    ):
        if not methods or set(methods) != set(rates):
            raise ValueError(
                f"methods and rates must have the same names, got {tuple(methods)} and "
                f"{tuple(rates)}"
            )
        if steps < 1 or starts < 1:
            raise ValueError(f"steps, starts must be at least 1: {steps}, {starts}")
        self.steps, self.starts = steps, starts
        self._methods = {
            name: (make, tuple(rates[name])) for name, make in methods.items()
        }
        for name, wrap in (wrappers or {}).items():
            if wrapped not in methods:
                raise ValueError(f"wrapped must be of methods, got {wrapped!r}")
            inner, own = self._methods[wrapped]
            self._methods[name] = (_around(wrap, inner), own)

    def _losses(self, make, rates, starts):
        """Losses before each step and after the last, ``[R, steps + 1, N]``."""

        def one(rate, start):
            tx = make(learning_rate=optax.cosine_decay_schedule(rate, self.steps))
            tx = optax.with_extra_args_support(tx)

            def step(carry, _):
                x, state = carry
                value, grad = jax.value_and_grad(rosenbrock)(x)
                updates, state = tx.update(grad, state, x, value=value, grad=grad)
                return (optax.apply_updates(x, updates), state), value

            begin = (start, tx.init(start))
            (last, _), values = jax.lax.scan(step, begin, None, self.steps)
            return jnp.append(values, rosenbrock(last))

        each = jax.vmap(jax.vmap(one, (None, 0), 1), (0, None))
        found = np.asarray(jax.jit(each)(jnp.array(rates), starts))
        return np.where(np.isfinite(found), found, np.inf)

    def measure(self, rng: jax.Array) -> Measured:
        """Returns the scores that the class names, losses by step and a table."""
        with jax.enable_x64(True):
            return self._measure(rng)

    def _measure(self, rng):
        low, high = jnp.array([-2.0, -1.0]), jnp.array([2.0, 3.0])
        shape = (self.starts, 2)
        starts = jax.random.uniform(rng, shape, jnp.float64, low[None], high[None])
        scores, rows, series = {}, [], []
        for name, (make, rates) in self._methods.items():
            losses = self._losses(make, rates, starts)
            ends = [
                float(np.quantile(found[-1], 0.9, method="higher")) for found in losses
            ]
            best = int(np.argmin(ends))
            median = np.median(losses[best], axis=1)
            solved = float(np.mean(losses[best][-1] < 1e-4))
            scores[f"{name}/rate"] = rates[best]
            scores[f"{name}/loss"] = float(np.log10(np.clip(ends[best], 1e-30, 1e30)))
            scores[f"{name}/solved"] = solved
            rows.append((name, rates[best], ends[best], solved))
            places = np.unique(np.geomspace(1, self.steps + 1, 300).astype(int))
            shown = np.maximum(median[places - 1], 1e-30)
            series.append(
                Series(f"{name} at {rates[best]:g}", places.astype(float), shown)
            )
        columns = ("method", "best rate", "loss of nine in ten", "share below 1e-4")
        return Measured(
            scores,
            [
                Curves(
                    "Median loss on Rosenbrock's function",
                    series,
                    "step",
                    "loss",
                    log_x=True,
                    log_y=True,
                ),
                Table("At the best rate", columns, rows),
            ],
        )
