"""Optimal transport with an entropy: Sinkhorn's iteration, in logarithms."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics
from kexue_jax.metrics.masses import check_masses, of_one_sum

INNER = 16  # iterations in factors between two in logarithms
LARGEST = 60.0  # logarithm of factors that are still trusted


class Sinkhorn(NamedTuple):
    """A regularised plan, and how near it is to what it should be.

    Attributes:
      value: ``[...]``, what is minimised, with its penalties; it has derivatives.
      cost: ``[...]``, :math:`\\sum G_{ij} D_{ij}` of the plan.
      plan: G, ``[..., M, N]``.
      row_potential: f, ``[..., M]``.
      column_potential: g, ``[..., N]``.
      error: ``[...]``, how much mass the plan has in wrong rows: the sum of absolute
        differences, as a share of the mass; for unbalanced transport the last change of
        the potentials, in units of epsilon.
      iterations: ``[...]`` int32.
      converged: ``[...]`` bool, whether the error is within the tolerance.
    """

    value: jax.Array
    cost: jax.Array
    plan: jax.Array
    row_potential: jax.Array
    column_potential: jax.Array
    error: jax.Array
    iterations: jax.Array
    converged: jax.Array


def _log(mass):
    return jnp.where(mass > 0.0, jnp.log(jnp.where(mass > 0.0, mass, 1.0)), -jnp.inf)


def _soft_least(price, weight, epsilon, axis):
    """-epsilon log sum w exp(-price / epsilon) over an axis; weights are logarithms."""
    scores = weight - price / epsilon
    top = jnp.max(scores, axis=axis, keepdims=True)
    top = jnp.where(top > -jnp.inf, top, 0.0)
    total = jnp.sum(jnp.exp(scores - top), axis=axis)
    total = jnp.where(total > 0.0, total, 1.0)
    return -epsilon * (jnp.log(total) + jnp.squeeze(top, axis))


def _divergence(mass, wanted, axis=-1):
    """KL(mass || wanted) for masses of any sums."""
    ratio = jnp.where(mass > 0.0, mass / jnp.where(mass > 0.0, wanted, 1.0), 1.0)
    return jnp.sum(mass * jnp.log(ratio) - mass + wanted, axis=axis)


def _share(penalty, epsilon):
    """By how much a potential is drawn to 0 where masses may differ."""
    return 1.0 if penalty == jnp.inf else penalty / (penalty + epsilon)


def _power(wanted, reached, share):
    """(wanted / reached) to a power; 0 where nothing is wanted."""
    some = (wanted > 0.0) & (reached > 0.0)
    ratio = jnp.where(some, wanted / jnp.where(some, reached, 1.0), 1.0)
    return jnp.where(some, ratio**share, 0.0)


def _iterate(cost, p, q, epsilon, penalties, steps, tolerance):
    """Returns potentials, the error and the iterations of one problem.

    Epsilon is large at first and halved until it is what was asked for.
    """
    log_p, log_q = _log(p), _log(q)
    real = (p > 0.0)[:, None] & (q > 0.0)[None, :]
    spread = jnp.max(jnp.where(real, cost, -jnp.inf)) - jnp.min(
        jnp.where(real, cost, jnp.inf)
    )
    total = jnp.maximum(jnp.sum(p), jnp.finfo(cost.dtype).tiny)

    def outer(state):
        f_old, g_old, warm, _, count = state
        share_p, share_q = (_share(penalty, warm) for penalty in penalties)
        f = share_p * _soft_least(cost - g_old[None, :], log_q[None, :], warm, 1)
        g = share_q * _soft_least(cost - f[:, None], log_p[:, None], warm, 0)
        # Then in factors of what these give, which need no exponentials.
        weight = log_p[:, None] + log_q[None, :]
        plan = jnp.exp((f[:, None] + g[None, :] - cost) / warm + weight)
        lag_p = jnp.exp((share_p - 1.0) * f / warm)
        lag_q = jnp.exp((share_q - 1.0) * g / warm)

        def inner(_, factors):
            _, v = factors
            u = _power(p, plan @ v, share_p) * lag_p
            return u, _power(q, u @ plan, share_q) * lag_q

        start = (jnp.ones_like(p), jnp.ones_like(q))
        logs = [_log(x) for x in jax.lax.fori_loop(0, INNER, inner, start)]
        sizes = [jnp.max(jnp.where(jnp.isinf(x), 0.0, jnp.abs(x))) for x in logs]
        sound = jnp.maximum(*sizes) < LARGEST
        log_u, log_v = (jnp.where(sound & jnp.isfinite(x), x, 0.0) for x in logs)
        if penalties == (jnp.inf, jnp.inf):
            rows = jnp.exp(log_u) * (plan @ jnp.exp(log_v))
            error = jnp.sum(jnp.abs(rows - p)) / total
        else:
            change = jnp.abs(f + warm * log_u - f_old)
            error = jnp.max(jnp.where(p > 0.0, change, 0.0)) / warm
        error = jnp.where(warm <= epsilon, error, jnp.inf)
        warm_next = jnp.maximum(0.5 * warm, epsilon)
        return f + warm * log_u, g + warm * log_v, warm_next, error, count + INNER + 1

    def more(state):
        *_, error, count = state
        return (error > tolerance) & (count < steps)

    state = (
        jnp.zeros_like(p),
        jnp.zeros_like(q),
        jnp.maximum(0.5 * spread, epsilon),
        jnp.asarray(jnp.inf, cost.dtype),
        jnp.zeros((), jnp.int32),
    )
    f, g, _, error, count = jax.lax.while_loop(more, outer, state)
    return f, g, error, count


@partial(jax.custom_jvp, nondiff_argnums=(4, 5, 6))
def _solved(cost, p, q, epsilon, penalties, steps, tolerance):
    solve = partial(_iterate, penalties=penalties, steps=steps, tolerance=tolerance)
    usable = jnp.where(jnp.isfinite(cost), cost, 0.0)
    for _ in range(cost.ndim - 2):
        solve = jax.vmap(solve)
    f, g, error, count = solve(usable, p, q, epsilon)
    weight = _log(p)[..., :, None] + _log(q)[..., None, :]
    scores = (f[..., :, None] + g[..., None, :] - usable) / epsilon[..., None, None]
    plan = jnp.exp(scores + weight)
    plan = jnp.where((plan > 0.0) & ~jnp.isfinite(cost), jnp.nan, plan)
    moved = jnp.sum(plan * usable, axis=(-2, -1))
    product = p[..., :, None] * q[..., None, :]
    value = moved + epsilon * _divergence(plan, product, axis=(-2, -1))
    for penalty, axis, mass in zip(penalties, (-1, -2), (p, q), strict=True):
        if penalty != jnp.inf:
            value = value + penalty * _divergence(jnp.sum(plan, axis=axis), mass)
    return Sinkhorn(value, moved, plan, f, g, error, count, error <= tolerance)


@_solved.defjvp
def _solved_jvp(penalties, steps, tolerance, primals, tangents):
    _, p, q, epsilon = primals
    found = _solved(*primals, penalties, steps, tolerance)
    plan, f, g = map(
        jax.lax.stop_gradient,
        (found.plan, found.row_potential, found.column_potential),
    )
    product = p[..., :, None] * q[..., None, :]

    def by_mass(potential, penalty, other):
        if penalty == jnp.inf:
            left, slope = 1.0, potential
        else:
            left = jnp.exp(-potential / penalty)
            slope = penalty * (1.0 - left)
        return slope + epsilon[..., None] * (jnp.sum(other, -1, keepdims=True) - left)

    by_cost, by_p, by_q, by_epsilon = tangents
    change = (
        jnp.sum(plan * by_cost, axis=(-2, -1))
        + jnp.sum(by_mass(f, penalties[0], q) * by_p, axis=-1)
        + jnp.sum(by_mass(g, penalties[1], p) * by_q, axis=-1)
        + _divergence(plan, product, axis=(-2, -1)) * by_epsilon
    )
    still = jax.tree.map(
        lambda x: (
            jnp.zeros(x.shape, x.dtype)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else jnp.zeros(x.shape, jax.dtypes.float0)
        ),
        found,
    )
    return found, still._replace(value=change)


def sinkhorn(
    cost: jax.Array,
    p: jax.Array,
    q: jax.Array,
    *,
    epsilon: float | jax.Array,
    row_penalty: float | None = None,
    column_penalty: float | None = None,
    steps: int = 10000,
    tolerance: float = 1e-4,
) -> Sinkhorn:
    r"""Moves one distribution onto another for little, and not too sharply.

    .. math:: \min_{G} \sum_{ij} G_{ij} D_{ij} + \epsilon\,\mathrm{KL}(G \| p q^\top)
              + \rho_1 \mathrm{KL}(G \mathbf{1} \| p)
              + \rho_2 \mathrm{KL}(G^\top \mathbf{1} \| q)

    where without a penalty the sums are those wanted. The plan is
    :math:`p_i q_j e^{(f_i + g_j - D_{ij}) / \epsilon}`. With equal sums its cost lies
    above the least by at most :math:`\epsilon` times the entropy of `p` or `q`, if
    those sum to 1. For small problems, such as sentences, `optimal_transport` is exact
    and faster.

    Args:
      cost: D, ``[..., M, N]`` floating.
      p: ``[..., M]``, not negative; rows of mass 0 take no part, as padding.
      q: ``[..., N]``, likewise. Without penalties of the sum of `p` to 1e-4, or what
        the dtype rounds away, and rescaled to it.
      epsilon: > 0, in units of the cost, broadcastable to ``[...]``.
      row_penalty, column_penalty: :math:`\rho > 0`, in units of the cost, for rows and
        columns that may get other masses than `p` and `q`; None is without end.
      steps: at most about so many iterations.
      tolerance: of the `error` of a `Sinkhorn`, > 0.

    Returns:
      A `Sinkhorn` in the dtype of `cost`; each of many problems stops by itself. Where
      a cost that is needed is not finite, or masses that are known only when the
      program runs are negative or have other sums, the value and the plan are nan.

    Raises:
      ValueError: if the shapes disagree, the masses do where they are known, or a
        number is out of range.

    Numerics: float32, or wider if `cost` is; no sum under- or overflows, however small
      epsilon is, but below a thousandth of the largest cost float32 sees little of it.
      Epsilon is large at first and halved. Only `value` has derivatives, by the cost,
      both masses and epsilon, in closed form at the optimum; in all else the result
      counts as constant.

    Source: https://kexue.fm/archives/7388 for the exact problem; Cuturi,
      https://arxiv.org/abs/1306.0895; with penalties Chizat et al.,
      https://arxiv.org/abs/1607.05816.

    >>> cost, half = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.array([0.5, 0.5])
    >>> sinkhorn(cost, half, half, epsilon=0.1).plan.round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    infinite = float("inf")
    balanced = row_penalty is None and column_penalty is None
    cost, p, q = check_masses(cost, p, q, of_one_sum=balanced)
    for name, number in (
        ("epsilon", epsilon if isinstance(epsilon, int | float) else 1.0),
        ("row_penalty", 1.0 if row_penalty is None else row_penalty),
        ("column_penalty", 1.0 if column_penalty is None else column_penalty),
        ("steps", steps),
        ("tolerance", tolerance),
    ):
        if not number > 0:
            raise ValueError(f"{name} must be positive, got {number}")
    wide = numerics.widened(cost)
    if balanced:
        masses = of_one_sum(p, q, wide.dtype)
    else:
        masses = [x.astype(wide.dtype) for x in (p, q)]
    lost = jnp.zeros(cost.shape[:-2], bool)
    for x in masses:
        lost = lost | jnp.any(~(x >= 0.0), axis=-1)
    masses = [jnp.where(lost[..., None], 0.0, x) for x in masses]
    penalties = tuple(
        infinite if x is None else float(x) for x in (row_penalty, column_penalty)
    )
    epsilon = jnp.broadcast_to(jnp.asarray(epsilon, wide.dtype), cost.shape[:-2])
    found = _solved(wide, *masses, epsilon, penalties, steps, tolerance)

    def ended(x):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        where = lost.reshape(*lost.shape, *[1] * (x.ndim - lost.ndim))
        return jnp.where(where, jnp.nan, x).astype(cost.dtype)

    converged = found.converged & ~lost
    return jax.tree.map(ended, found)._replace(converged=converged)


def sinkhorn_divergence(
    cost: jax.Array,
    row_cost: jax.Array,
    column_cost: jax.Array,
    p: jax.Array,
    q: jax.Array,
    *,
    epsilon: float | jax.Array,
    steps: int = 10000,
    tolerance: float = 1e-4,
) -> jax.Array:
    """The value of `sinkhorn` less the mean of what either side costs by itself.

    Args:
      cost: ``[..., M, N]``, between the two sides.
      row_cost, column_cost: ``[..., M, M]`` and ``[..., N, N]``, within each.
      p, q, epsilon, steps, tolerance: as in `sinkhorn`.

    Returns:
      ``[...]``: 0 for equal distributions, and greater for others if the costs are
      squared or plain distances; with derivatives.

    Source: Feydy et al., https://arxiv.org/abs/1810.08278
    """
    between, rows, columns = (
        sinkhorn(c, x, y, epsilon=epsilon, steps=steps, tolerance=tolerance).value
        for c, x, y in ((cost, p, q), (row_cost, p, p), (column_cost, q, q))
    )
    return between - 0.5 * (rows + columns)
