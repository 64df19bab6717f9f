"""Learning rates that optax has no schedule for."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.optim.checks import require


def piecewise_linear(
    points: Mapping[int, float] | Sequence[tuple[int, float]], scale: float = 1.0
) -> optax.Schedule:
    """Returns the rate that runs straight from point to point.

    It begins at 0 unless step 0 is given, and keeps the last value. The values
    themselves are given; ``optax.piecewise_interpolate_schedule`` multiplies them up.

    Args:
      points: pairs of a step and a value, or a dict of them; steps at least 0.
      scale: multiplies all values.

    Raises:
      ValueError: without points, with a negative step or with one twice.

    Source: https://kexue.fm/archives/7094

    >>> warm = piecewise_linear({1000: 1.0, 2000: 0.1}, scale=1e-3)
    >>> [round(float(warm(step)), 6) for step in (0, 500, 1000, 1500, 9000)]
    [0.0, 0.0005, 0.001, 0.00055, 0.0001]
    """
    pairs = points.items() if isinstance(points, Mapping) else points
    pairs = sorted((int(step), float(value)) for step, value in pairs)
    steps = [step for step, _ in pairs]
    require(len(pairs) > 0, "points must not be empty")
    require(steps[0] >= 0, f"steps of points must be at least 0, got {steps[0]}")
    require(len({*steps}) == len(steps), f"a step of points comes twice: {steps}")
    if steps[0] > 0:
        pairs = [(0, 0.0), *pairs]
    knots, values = np.array(pairs, np.float64).T

    def schedule(count):
        kind = jnp.result_type(float)
        at = jnp.asarray(count, kind)
        return scale * jnp.interp(at, knots.astype(kind), values.astype(kind))

    return schedule


def relative_step(maximum: float = 1e-2, scale: float = 1.0) -> optax.Schedule:
    r"""Returns :math:`\min(10^{-2}, 1/\sqrt t)`, AdaFactor's own learning rate.

    For ``optax.adafactor(relative_step())``, which multiplies it by the root mean
    square of each parameter.

    Args:
      maximum: the rate of the first steps, until :math:`1/\sqrt t` is less.
      scale: multiplies both; 0.05 where parameters are not multiplied by.

    Raises:
      ValueError: if `maximum` is not positive.

    Source: https://kexue.fm/archives/7302
    """
    require(maximum > 0, f"maximum must be positive, got {maximum}")

    def schedule(count):
        t = jnp.asarray(count, jnp.result_type(float)) + 1.0
        return scale * jnp.minimum(maximum, 1.0 / jnp.sqrt(t))

    return schedule
