"""The bargaining solution of Nash, from inner products alone."""

import jax
import jax.numpy as jnp


def nash_bargaining(gram: jax.Array, *, steps: int = 60) -> jax.Array:
    r"""The a > 0 with :math:`K a = 1 / a`, elementwise, for the Gram matrix K.

    The least of the convex function :math:`a^\top K a / 2 - \sum_i \log a_i`. Then
    :math:`u = \sum_i a_i g_i` maximises the product of the gains
    :math:`\langle g_i, u\rangle` among vectors of its length, whose square is the
    number of objectives. For two it is along :math:`g_1/\|g_1\| + g_2/\|g_2\|`.

    Args:
      gram: K, ``[K, K]``.
      steps: of Newton's method, at most; about ten are usual.

    Returns:
      ``[K]``; 0 for an objective whose gradient is 0.

    Raises:
      ValueError: if `gram` is not square.

    Numerics: damped Newton on K scaled to a unit diagonal, where the function is
    self-concordant, with 10 eps on the diagonal: where some mean of the g_i is 0 there
    is no solution, and u comes out near 0 instead.
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1]:
        raise ValueError(f"gram must be [K, K], got {gram.shape}")
    count, dtype = len(gram), gram.dtype
    eps = jnp.finfo(dtype).eps
    diagonal = jnp.diagonal(gram)
    moves = diagonal > 0
    unit = jnp.where(moves, jax.lax.rsqrt(jnp.where(moves, diagonal, 1.0)), 0.0)
    system = gram * unit[:, None] * unit[None, :]
    system += jnp.diag(jnp.where(moves, 10 * eps, 1.0).astype(dtype))

    def unfinished(carry):
        _, decrement, step = carry
        return (decrement > 4 * count * eps) & (step < steps)

    def newton(carry):
        a, _, step = carry
        product = jnp.matmul(system, a, precision=jax.lax.Precision.HIGHEST)
        slope = product - 1.0 / a
        curve = system + jnp.diag(1.0 / jnp.square(a))
        change = -jnp.linalg.solve(curve, slope)
        decrement = jnp.sqrt(jnp.maximum(-jnp.vdot(slope, change), 0.0))
        part = jnp.where(decrement < 0.25, 1.0, 1.0 / (1.0 + decrement))
        return a + part * change, decrement, step + 1

    start = jnp.ones(count, dtype), jnp.asarray(jnp.inf, dtype), 0
    a, _, _ = jax.lax.while_loop(unfinished, newton, start)
    return a * unit
