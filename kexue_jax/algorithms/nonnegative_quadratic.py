"""The least of a convex quadratic over non-negative arguments, by an active set."""

import jax
import jax.numpy as jnp


def nonnegative_quadratic(matrix: jax.Array, linear: jax.Array) -> jax.Array:
    r"""The x that minimises :math:`x^\top Q x / 2 - q^\top x` with every x >= 0.

    Lawson and Hanson's method on the normal equations: one argument at a time becomes
    free, the free ones solve their equations, and those that would turn negative are
    held at 0 again. Exact after finitely many solves; about K of them are usual.

    Args:
      matrix: Q ``[K, K]``, symmetric and positive semidefinite, such as a Gram matrix.
      linear: q ``[K]``, in the range of Q, or the minimum does not exist.

    Returns:
      x ``[K]`` in the common dtype. Where columns depend on each other x is one of
      several minimisers, with few arguments above 0.

    Raises:
      ValueError: if the shapes are not ``[K, K]`` and ``[K]``.

    Numerics: works on Q scaled to a unit diagonal, so that units of the arguments do
    not matter; an argument whose diagonal is 0 stays at 0. Stops after at most
    ``10 K + 10`` solves with a feasible x; meant for K up to a hundred or so.
    """
    if matrix.ndim != 2 or (*linear.shape, linear.size) != matrix.shape:
        raise ValueError(
            "matrix and linear must be [K, K] and [K], got "
            f"{matrix.shape} and {linear.shape}"
        )
    dtype = jnp.result_type(matrix, linear)
    count = linear.size
    diagonal = jnp.diagonal(matrix)
    usable = diagonal > 0
    unit = jnp.where(usable, jax.lax.rsqrt(jnp.where(usable, diagonal, 1.0)), 0.0)
    matrix = matrix * unit[:, None] * unit[None, :]
    linear = linear * unit
    rounding = 4 * max(count, 4) * jnp.finfo(dtype).eps
    places = jnp.arange(count)

    def unfinished(carry):
        *_, done, turn = carry
        return ~done & (turn < 10 * count + 10)

    def turn_once(carry):
        x, free, entered, barred, _, turn = carry
        system = jnp.where(free[:, None] & free[None, :], matrix, 0.0)
        system += jnp.diag((~free).astype(dtype))
        right = jnp.where(free, linear, 0.0)
        solved = jnp.where(free, jnp.linalg.solve(system, right), 0.0)
        falls = free & ~(solved > 0)

        # Some would leave the region: go as far as the first and hold it at 0.
        drop = jnp.where(falls, x - solved, 1.0)
        shares = jnp.where(falls, x / jnp.where(drop > 0, drop, 1.0), jnp.inf)
        share = jnp.minimum(jnp.min(shares, initial=jnp.inf), 1.0)
        partway = jnp.maximum(x + share * (solved - x), 0.0)
        stays = free & ~(falls & (shares <= share)) & (partway > 0)
        partway = jnp.where(stays, partway, 0.0)
        # What fell at once has entered by rounding alone and is barred for a while.
        bar = barred | ((places == entered) & ~stays & (share <= 0))

        # All are inside: the next to enter is where the quadratic falls fastest.
        slope = linear - matrix @ solved
        noise = rounding * (jnp.abs(linear) + jnp.abs(matrix) @ solved)
        open_to = ~((entered >= 0) & jnp.any(free & (places == entered)))
        kept = barred & open_to
        eager = ~free & ~kept & usable & (slope > noise)
        best = jnp.argmax(jnp.where(eager, slope, -jnp.inf)).astype(places.dtype)
        outside = jnp.any(falls)
        done = ~outside & ~jnp.any(eager)
        return (
            jnp.where(outside, partway, solved),
            jnp.where(outside, stays, free | (eager & (places == best))),
            jnp.where(outside & bar[entered], -1, jnp.where(outside, entered, best)),
            jnp.where(outside, bar, kept),
            done,
            turn + 1,
        )

    none = jnp.zeros(count, bool)
    start = (
        jnp.zeros(count, dtype),
        none,
        places.dtype.type(-1),
        none,
        jnp.bool(False),
        0,
    )
    x = jax.lax.while_loop(unfinished, turn_once, start)[0] if count else linear
    return (x * unit).astype(dtype)
