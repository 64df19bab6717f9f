"""Task: what gates let through, in random cells of one unit that have run a while."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.recurrent import (
    CellState,
    Weights,
    gru_step,
    lstm_step,
    reset_last_step,
    unroll,
)
from kexue_jax.exhibits import Bars
from kexue_jax.tasks.analysis import Analysis, Measured

CELLS = {
    "lstm": (lstm_step, 4),
    "gru": (gru_step, 3),
    "reset_last": (reset_last_step, 3),
}
"""From a name to a step and how many gates and candidates it has."""


class GateJacobians(Analysis):
    r"""The derivative of a state by the one before it, over random cells.

    Weights are normal with a deviation and fixed for each cell, biases 0, inputs
    standard normal; each cell is run from zero, so that its states are its own. For an
    LSTM the derivative is that of the cell by the cell, the output gate of the step
    before held fixed, as in the post; for the others that of the whole state they keep.

    Scores, for each deviation s: ``<s>/<cell>_explodes``, the share of cells whose
    derivative exceeds 1 in size, and ``<s>/<cell>_rest``, the mean size of what
    does not come straight through the gate.

    Args:
      deviations: of the weights.
      cells: how many are drawn.
      steps: those that they run before the derivative is taken.
    """

    def __init__(
        self,
        *,
        deviations: tuple[float, ...] = (0.3, 1.0, 3.0),
        cells: int = 100_000,
        steps: int = 20,
    ):
        if cells < 1 or steps < 1:
            raise ValueError(f"cells and steps must be at least 1: {cells}, {steps}")
        self.deviations, self.cells, self.steps = tuple(deviations), cells, steps
        self._found = jax.jit(self._one, static_argnums=(1,))

    def _one(self, rng, name, deviation):
        step, gates = CELLS[name]
        draw = functools.partial(self._derivative, step, gates)
        keys = jax.random.split(rng, self.cells)
        whole, through = jax.vmap(draw, in_axes=(0, None))(keys, deviation)
        return jnp.mean(jnp.abs(whole) > 1.0), jnp.mean(jnp.abs(whole - through))

    def _derivative(self, step, gates, rng, deviation):
        """The derivative of one cell, and the part straight through its gate."""
        keys = jax.random.split(rng, 3)
        params = Weights(
            deviation * jax.random.normal(keys[0], (1, gates)),
            deviation * jax.random.normal(keys[1], (1, gates)),
            jnp.zeros(gates),
        )
        inputs = jax.random.normal(keys[2], (1, self.steps, 1))
        zero = jnp.zeros((1, 1))
        start = zero if step is gru_step else CellState(zero, zero)
        before, _ = unroll(step, params, start, inputs[:, :-1])
        now = inputs[:, -1]
        if step is gru_step:
            kept = hidden = before

            def after(state):
                return step(params, state, now)[0, 0]
        else:
            kept, hidden = before
            squash = jnp.tanh if step is lstm_step else jnp.asarray
            about = squash(kept)
            # h = o tanh(c) or r c: the gate of the step before stays as it is.
            shown = hidden / jnp.where(about == 0.0, 1.0, about)

            def after(state):
                state = CellState(state, shown * squash(state))
                return step(params, state, now).cell[0, 0]

        whole = jax.grad(after)(kept)[0, 0]
        inner = jnp.dot(now, params.inputs) + jnp.dot(hidden, params.recurrent)
        gate = jax.nn.sigmoid(inner[0, 1])  # forget gate, or share of the new
        return whole, gate if step is lstm_step else 1.0 - gate

    def measure(self, rng: jax.Array) -> Measured:
        """Returns shares and means, and bars of them."""
        scores, values = {}, {"explodes": [], "rest": []}
        for place, deviation in enumerate(self.deviations):
            rows = {"explodes": [], "rest": []}
            for index, name in enumerate(CELLS):
                key = jax.random.fold_in(jax.random.fold_in(rng, place), index)
                found = self._found(key, name, deviation)
                for kind, value in zip(("explodes", "rest"), found, strict=True):
                    scores[f"{deviation:g}/{name}_{kind}"] = float(value)
                    rows[kind].append(float(value))
            for kind, row in rows.items():
                values[kind].append(row)
        groups = [f"deviation {deviation:g}" for deviation in self.deviations]
        titles = {
            "explodes": "Share of cells that enlarge their state",
            "rest": "What comes back through gates and candidate",
        }
        return Measured(
            scores,
            [
                Bars(title, groups, list(CELLS), np.array(values[kind]), kind)
                for kind, title in titles.items()
            ],
        )
