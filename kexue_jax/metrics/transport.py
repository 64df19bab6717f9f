"""Exact optimal transport between two discrete distributions."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from kexue_jax.algorithms.transport_simplex import transport_simplex


class Transport(NamedTuple):
    """An optimal plan and the proof that it is one.

    Attributes:
      cost: ``[...]``, what the plan costs.
      plan: G, ``[..., M, N]``, not negative, at most M + N - 1 entries not 0.
      row_potential: f, ``[..., M]``.
      column_potential: g, ``[..., N]``; :math:`f_i + g_j \\le D_{ij}`, with equality
        where the plan moves something.
      gap: ``[...]``, the cost less what the potentials prove to be needed,
        :math:`p^\\top f + q^\\top g`; 0 but for rounding.
    """

    cost: jax.Array
    plan: jax.Array
    row_potential: jax.Array
    column_potential: jax.Array
    gap: jax.Array


def _on_host(cost, p, q):
    """Solves ``[..., M, N]``; nan where a problem has no solution."""
    wide = [np.asarray(x, np.float64) for x in (cost, p, q)]
    lead, dtype = cost.shape[:-2], cost.dtype
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in wide]
    plan, f, g, status, _ = transport_simplex(*flat)
    unsolved = status != 0
    used = np.where(plan > 0.0, flat[0], 0.0)
    value = np.einsum("bmn,bmn->b", plan, used)
    least = np.einsum("bm,bm->b", flat[1], f) + np.einsum("bn,bn->b", flat[2], g)
    found = (value, plan, f, g, value - least)
    for array in found:
        array[unsolved] = np.nan
    made: list[Any] = [x.reshape((*lead, *x.shape[1:])).astype(dtype) for x in found]
    return Transport(*made)


def _shapes(cost, p, q):
    lead, dtype = cost.shape[:-2], cost.dtype
    each = (lead, cost.shape, p.shape, q.shape, lead)
    made: list[Any] = [jax.ShapeDtypeStruct(shape, dtype) for shape in each]
    return Transport(*made)


@jax.custom_jvp
def _solved(cost, p, q):
    return jax.pure_callback(
        _on_host, _shapes(cost, p, q), cost, p, q, vmap_method="broadcast_all"
    )


@_solved.defjvp
def _solved_jvp(primals, tangents):
    found = _solved(*primals)
    slopes = (found.plan, found.row_potential, found.column_potential)
    axes = ((-2, -1), (-1,), (-1,))
    change = sum(
        jnp.sum(jax.lax.stop_gradient(slope) * tangent, axis=axis)
        for slope, tangent, axis in zip(slopes, tangents, axes, strict=True)
    )
    still = jax.tree.map(jnp.zeros_like, found)
    return found, still._replace(cost=change)


def _check(cost, p, q):
    if cost.ndim < 2 or p.shape != cost.shape[:-1]:
        raise ValueError(
            f"cost and p must be [..., M, N] and [..., M], got {cost.shape}, {p.shape}"
        )
    if q.shape != (*cost.shape[:-2], cost.shape[-1]):
        raise ValueError(
            f"cost and q must be [..., M, N] and [..., N], got {cost.shape}, {q.shape}"
        )
    for name, x in (("cost", cost), ("p", p), ("q", q)):
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise ValueError(f"{name} must be floating, got {x.dtype}")
    if isinstance(p, Tracer) or isinstance(q, Tracer):
        return
    sums = [np.asarray(x, np.float64).sum(axis=-1) for x in (p, q)]
    if np.any(~(np.abs(sums[0] - sums[1]) <= 1e-4 * np.maximum(*sums))):
        raise ValueError(
            f"p and q must have the same sums, got {sums[0]} and {sums[1]}"
        )
    for name, x in (("p", p), ("q", q)):
        if np.min(x, initial=0.0) < 0.0:
            raise ValueError(f"{name} must not be negative, got {np.min(x)}")


def optimal_transport(cost: jax.Array, p: jax.Array, q: jax.Array) -> Transport:
    r"""Finds the cheapest way to move one distribution onto another, exactly.

    .. math:: \min_{G \ge 0} \sum_{ij} G_{ij} D_{ij}, \quad
              G \mathbf{1} = p, \quad G^\top \mathbf{1} = q

    Many problems are solved at once, by leading axes or by `jax.vmap`; those of other
    sizes are filled up with rows and columns of mass 0, which take no part, whatever
    their costs are.

    The work is done on the host, by a transportation simplex in float64 that numba
    compiles (``pip install kexue-jax[transport]``), one problem a thread.

    Args:
      cost: D, ``[..., M, N]`` floating, what it costs to move one unit from i to j.
      p: ``[..., M]``, masses to be moved, not negative.
      q: ``[..., N]``, masses wanted; of the sum of `p` to 1e-4, and rescaled to it.

    Returns:
      A `Transport` in the dtype of `cost`. Where nothing is to be moved all is 0; where
      a problem has no solution that is known only when the program runs (masses that
      are negative or have other sums, a cost that is not finite) all is nan.

    Raises:
      ValueError: if the shapes disagree or the masses, where they are known, do.

    Numerics: solved in float64 whatever the dtype; cost and gap are rounded last.
      Derivatives of any order in one direction: that of the cost by D is the plan, by
      p and q the potentials (up to a constant, as masses of another sum have no plan);
      plan and potentials count as constants, which they are almost everywhere.

    Source: https://kexue.fm/archives/7388

    >>> cost, q = jnp.array([[0.0, 2.0], [1.0, 4.0]]), jnp.array([0.75, 0.25])
    >>> optimal_transport(cost, jnp.array([0.5, 0.5]), q).plan.round(3).tolist()
    [[0.25, 0.25], [0.5, 0.0]]
    """
    cost, p, q = (jnp.asarray(x) for x in (cost, p, q))
    _check(cost, p, q)
    return _solved(cost, p.astype(cost.dtype), q.astype(cost.dtype))
