"""Optimal transport between points on a line, by sorting."""

import jax
import jax.numpy as jnp

from kexue_jax import numerics


def _powered(size, power):
    if power == 1.0:
        return size
    some = size > 0.0
    return jnp.where(some, jnp.where(some, size, 1.0) ** power, 0.0)


def _moved(x, y, p, q, power):
    sides = []
    for points, mass in ((x, p), (y, q)):
        order = jnp.argsort(points)
        sides.append((points[order], jnp.cumsum(mass[order])))
    (x, below_x), (y, below_y) = sides
    # Between two neighbours among all sums of masses both quantiles stay as they are.
    levels = jnp.sort(jnp.concatenate([below_x, below_y]))
    width = jnp.diff(levels, prepend=0.0)
    middle = jax.lax.stop_gradient(levels - 0.5 * width)
    at_x, at_y = (
        points[jnp.minimum(jnp.searchsorted(below, middle), len(points) - 1)]
        for points, below in ((x, below_x), (y, below_y))
    )
    return jnp.sum(width * _powered(jnp.abs(at_x - at_y), power))


def optimal_transport_1d(
    x: jax.Array,
    y: jax.Array,
    x_weight: jax.Array | None = None,
    y_weight: jax.Array | None = None,
    *,
    power: float = 1.0,
) -> jax.Array:
    r"""What it costs to move points on a line to others, exactly.

    .. math:: \int_0^1 \big| F_x^{-1}(t) - F_y^{-1}(t) \big|^\rho \, dt

    Its root of order :math:`\rho` is the Wasserstein distance of that order.

    Args:
      x: ``[..., M]``, in any order.
      y: ``[..., N]``, with the same leading axes.
      x_weight, y_weight: masses like `x` and `y`, not negative, divided by their sums;
        0 takes no part. None: all alike.
      power: :math:`\rho`, at least 1.

    Returns:
      ``[...]`` float32, or float64 if an argument is; 0 where either has no mass.

    Raises:
      ValueError: if the shapes disagree, or the power is below 1.

    Numerics: masses are summed, so that quantiles err by roundings of 1. Derivatives by
      points and masses are those of the integral; at equal points they are 0.

    >>> x, y = jnp.array([3.0, 1.0]), jnp.array([0.0, 1.0, 2.0, 2.0])
    >>> optimal_transport_1d(x, y).item()
    0.75
    """
    if x.shape[:-1] != y.shape[:-1] or not x.ndim:
        raise ValueError(
            f"x and y must be [..., M] and [..., N], got {x.shape} and {y.shape}"
        )
    if not power >= 1.0:
        raise ValueError(f"power must be at least 1, got {power}")
    made = []
    for name, points, weight in (("x", x, x_weight), ("y", y, y_weight)):
        if weight is not None and weight.shape != points.shape:
            raise ValueError(
                f"{name}_weight must be {points.shape} as {name}, got {weight.shape}"
            )
        mass = jnp.ones(points.shape) if weight is None else weight
        made.append((numerics.widened(points), numerics.widened(mass)))
    kind = jnp.promote_types(made[0][0].dtype, made[1][0].dtype)
    totals = [jnp.sum(mass, axis=-1, keepdims=True) for _, mass in made]
    masses = [
        (mass / jnp.where(total > 0.0, total, 1.0)).astype(kind)
        for (_, mass), total in zip(made, totals, strict=True)
    ]
    moved = _moved
    for _ in range(x.ndim - 1):
        moved = jax.vmap(moved, (0, 0, 0, 0, None))
    found = moved(*(points.astype(kind) for points, _ in made), *masses, power)
    both = (totals[0] > 0.0) & (totals[1] > 0.0)
    return jnp.where(both[..., 0], found, 0.0)
