"""Task: where methods that merge two losses come to, in a plane with two valleys."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.exhibits import Curves, Exhibit, Series, Table
from kexue_jax.tasks.analysis import Analysis, Measured

STARTS = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0), (0.0, 0.0), (9.0, -1.0))
SHOWN = 200  # points of a path


def valley_losses(x: jax.Array) -> jax.Array:
    """Two losses of two numbers: above the axis narrow valleys, below it two bowls.

    The best compromises have ``x[1] = -8`` and ``x[0]`` between -7 and 7. Where the
    valleys cross the gradients conflict, and one is far longer than the other.

    Args:
      x: ``[2]``.

    Returns:
      ``[2]``.

    Source: Liu et al., CAGrad, arXiv 2110.14048, and Navon et al., Nash-MTL, arXiv
      2202.01017, whose toy it is.
    """
    floor, bend = 5e-6, jnp.tanh(-x[1])
    valleys = jnp.stack([0.5 * (-x[0] - 7.0) - bend, 0.5 * (-x[0] + 3.0) + bend + 2.0])
    above = jnp.log(jnp.maximum(jnp.abs(valleys), floor)) + 6.0
    apart = jnp.stack([-x[0] + 7.0, -x[0] - 7.0])
    below = (apart**2 + 0.1 * (-x[1] - 8.0) ** 2) / 10.0 - 20.0
    share = jnp.tanh(0.5 * x[1])
    return above * jnp.maximum(share, 0.0) + below * jnp.maximum(-share, 0.0)


class Compromises(Analysis):
    """Paths of several methods from five starts, moved a little by the key.

    Scores: ``<method>/arrived``, of how many starts the path ends at a compromise, and
    ``<method>/arrived_scaled``, where the first loss is measured in other units;
    ``<method>/moved``, the mean distance of the ends in the one and in the other.

    Args:
      methods: transforms that merge gradients of two objectives, by name.
      steps: of a path.
      learning_rate: of Adam, which follows the method.
      scale: the other units: what the first loss is multiplied by.
      spread: deviation of the starts.
    """

    def __init__(
        self,
        *,
        methods: Mapping[str, optax.GradientTransformation],
        steps: int = 50_000,
        learning_rate: float = 2e-3,
        scale: float = 0.1,
        spread: float = 0.3,
    ):
        if steps < SHOWN:
            raise ValueError(f"steps must be at least {SHOWN}, got {steps}")
        self.methods, self.names = dict(methods), tuple(methods)
        self.steps, self.learning_rate = steps, learning_rate
        self.scale, self.spread = scale, spread

    def _walk(self, merge, factors, start):
        """Some points of a path: ``[SHOWN, 2]``, the last one its end."""
        tx = optax.chain(
            optax.with_extra_args_support(merge), optax.adam(self.learning_rate)
        )

        def losses(x):
            return factors * valley_losses(x)

        def step(_, carry):
            x, state = carry
            value, pull = jax.vjp(losses, x)
            (grads,) = jax.vmap(pull)(jnp.eye(2))
            change, state = tx.update(
                grads, state, x, value=value, grad=grads, value_fn=losses
            )
            return x + change, state

        def stretch(carry, _):
            carry = jax.lax.fori_loop(0, self.steps // SHOWN, step, carry)
            return carry, carry[0]

        return jax.lax.scan(stretch, (start, tx.init(start)), length=SHOWN)[1]

    def measure(self, rng: jax.Array) -> Measured:
        """Returns who arrives from how many starts, and the paths."""
        noise = self.spread * jax.random.normal(rng, (len(STARTS), 2))
        starts = jnp.array(STARTS) + noise
        scores, exhibits, rows = {}, [], []
        for name, merge in self.methods.items():
            walk = jax.jit(jax.vmap(partial(self._walk, merge), in_axes=(None, 0)))
            found = []
            for suffix, scale in (("", 1.0), ("_scaled", self.scale)):
                paths = np.asarray(walk(jnp.array([scale, 1.0]), starts))
                ends = paths[:, -1]
                found.append(ends)
                there = (np.abs(ends[:, 1] + 8.0) < 0.5) & (np.abs(ends[:, 0]) < 7.2)
                scores[f"{name}/arrived{suffix}"] = float(there.sum())
                rows.append([name, scale, *(bool(yes) for yes in there)])
                if not suffix:
                    exhibits.append(self._shown(name, paths))
            apart = np.linalg.norm(found[0] - found[1], axis=1)
            scores[f"{name}/moved"] = float(apart.mean())
        columns = ["method", "scale", *(f"from {start}" for start in STARTS)]
        table = Table("Whether a compromise is reached", columns, rows)
        return Measured(scores, [table, *exhibits])

    def _shown(self, name, paths) -> Exhibit:
        front = Series("best compromises", np.array([-7.0, 7.0]), np.full(2, -8.0))
        lines = [
            Series(f"from {start}", path[:, 0], path[:, 1])
            for start, path in zip(STARTS, paths, strict=True)
        ]
        return Curves(f"Paths of {name}", [front, *lines], "x[0]", "x[1]")
