"""Task: how large the steps and the weights of AdamW are where gradients are noise."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Exhibit, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured

SHOWN = 100  # points of a curve


class UpdateSizes(Analysis):
    r"""Root mean squares of AdamW's direction and of its weights, under pure noise.

    Gradients are standard normal and independent. A mean field gives
    :math:`\sqrt{(1 - \beta_1)/(1 + \beta_1)}` for the direction and
    :math:`\sqrt{\eta / 2\lambda}` for weights that have forgotten where they began.

    Scores: ``step/<b1>``, the measured size by the predicted one, and
    ``weight/<rate>_<decay>`` likewise, both of ``optax.adamw``.

    Args:
      b1: first decays; the second is 0.999.
      rates, decays: each pair is a run, with the first decay 0.9.
      coordinates: how many are followed.
      horizon: steps of a run, by the time :math:`1/(\eta\lambda)` of forgetting.
    """

    def __init__(
        self,
        *,
        b1: tuple[float, ...] = (0.0, 0.5, 0.9, 0.95, 0.99),
        rates: tuple[float, ...] = (0.003, 0.01),
        decays: tuple[float, ...] = (0.1, 0.3),
        coordinates: int = 2000,
        horizon: float = 6.0,
    ):
        if coordinates < 1 or horizon <= 0:
            raise ValueError(
                f"coordinates and horizon must be positive: {coordinates}, {horizon}"
            )
        self.b1, self.rates, self.decays = tuple(b1), tuple(rates), tuple(decays)
        self.coordinates, self.horizon = coordinates, horizon

    def _sizes(self, rng, tx, steps, start):
        """Sizes of updates and weights along a run: ``[SHOWN]`` each."""

        def step(index, carry):
            x, state, _ = carry
            grads = jax.random.normal(jax.random.fold_in(rng, index), x.shape)
            updates, state = tx.update(grads, state, x)
            return optax.apply_updates(x, updates), state, updates

        def stretch(carry, first):
            carry = jax.lax.fori_loop(first, first + steps // SHOWN, step, carry)
            return carry, [jnp.sqrt(jnp.mean(x**2)) for x in (carry[2], carry[0])]

        x = jnp.full(self.coordinates, start)
        firsts = jnp.arange(SHOWN) * (steps // SHOWN)
        _, sizes = jax.lax.scan(stretch, (x, tx.init(x), jnp.zeros_like(x)), firsts)
        return jax.device_get(sizes)

    def measure(self, rng: jax.Array) -> Measured:
        """Returns measured by predicted sizes, as scores, a table and curves."""
        scores, rows, series = {}, [], []
        for place, b1 in enumerate(self.b1):
            tx = optax.adamw(1.0, b1=b1, b2=0.999, weight_decay=0.0)
            key = jax.random.fold_in(rng, place)
            run = jax.jit(lambda key, tx=tx: self._sizes(key, tx, 6000, 0.0))
            found = float(np.mean(run(key)[0][-SHOWN // 4 :]))
            wanted = ((1 - b1) / (1 + b1)) ** 0.5
            scores[f"step/{b1:g}"] = found / wanted
            rows.append(["step", f"b1 {b1:g}", found, wanted])
        pairs = [(rate, decay) for rate in self.rates for decay in self.decays]
        for place, (rate, decay) in enumerate(pairs):
            tx = optax.adamw(rate, weight_decay=decay)
            steps = int(self.horizon / (rate * decay)) // SHOWN * SHOWN
            key = jax.random.fold_in(rng, 1000 + place)
            run = jax.jit(
                lambda key, tx=tx, steps=steps: self._sizes(key, tx, steps, 0.0)
            )
            sizes = run(key)[1]
            found, wanted = (
                float(np.mean(sizes[-SHOWN // 4 :])),
                (rate / 2 / decay) ** 0.5,
            )
            scores[f"weight/{rate:g}_{decay:g}"] = found / wanted
            name = f"rate {rate:g}, decay {decay:g}"
            rows.append(["weight", name, found, wanted])
            at = (np.arange(SHOWN) + 1) * (steps // SHOWN)
            series.append(Series(name, at * rate * decay, sizes / wanted))
        return Measured(scores, self._shown(rows, series))

    def _shown(self, rows, series) -> list[Exhibit]:
        columns = ["of", "run", "measured", "predicted"]
        curves = Curves(
            "Weights by their predicted size",
            series,
            "steps by the time of forgetting",
            "measured by predicted",
        )
        return [Table("Root mean squares", columns, rows), curves]
