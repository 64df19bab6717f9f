"""Exact optimal transport between two discrete distributions."""

from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax import numerics
from kexue_jax.algorithms.transport_lockstep import transport_lockstep
from kexue_jax.algorithms.transport_simplex import in_pieces, transport_simplex
from kexue_jax.metrics.host_calls import call_on_host
from kexue_jax.metrics.masses import check_masses, of_one_sum


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
    lead, dtype = cost.shape[:-2], cost.dtype
    flat = [np.asarray(x).reshape(-1, *x.shape[len(lead) :]) for x in (cost, p, q)]
    each = ((), flat[0].shape[1:], flat[1].shape[1:], flat[2].shape[1:], ())
    count = len(flat[0])
    found = [np.empty((count, *shape), dtype) for shape in each]

    def some(first, last):
        """A piece of all problems, whose arrays in float64 stay small."""
        wide = [x[first:last].astype(np.float64) for x in flat]
        plan, f, g, status, _ = transport_simplex(*wide, workers=1)
        used = np.where(plan > 0.0, wide[0], 0.0)
        value = np.einsum("bmn,bmn->b", plan, used)
        least = np.einsum("bm,bm->b", wide[1], f) + np.einsum("bn,bn->b", wide[2], g)
        solved = (value, plan, f, g, value - least)
        for out, array in zip(found, solved, strict=True):
            array[status != 0] = np.nan
            out[first:last] = array

    in_pieces(some, count)
    made: list[Any] = [x.reshape((*lead, *x.shape[1:])) for x in found]
    return Transport(*made)


def _called_back(cost, p, q):
    lead, dtype = cost.shape[:-2], cost.dtype
    each = (lead, cost.shape, p.shape, q.shape, lead)
    shapes = [jax.ShapeDtypeStruct(shape, dtype) for shape in each]
    found = call_on_host(_on_host, shapes, cost, p, q, vmap_method="broadcast_all")
    return Transport(*found)


@jax.jit  # one program, where it is called outside of any
def _in_lockstep(cost, p, q):
    """As `_on_host`, in XLA."""
    lead = cost.shape[:-2]
    flat = [x.reshape(-1, *x.shape[len(lead) :]) for x in (cost, p, q)]
    plan, f, g, status, _ = transport_lockstep(*flat)
    used = jnp.where(plan > 0.0, flat[0], 0.0)
    value = jnp.sum(plan * used, axis=(1, 2))
    # What each part of the plan costs above its potentials: no large sums cancel.
    excess = jnp.where(plan > 0.0, used - f[:, :, None] - g[:, None, :], 0.0)
    gap = jnp.sum(plan * excess, axis=(1, 2))
    made: list[Any] = [
        jnp.where(_spread(status == 0, x), x, jnp.nan).reshape((*lead, *x.shape[1:]))
        for x in (value, plan, f, g, gap)
    ]
    return Transport(*made)


def _spread(flags, like):
    return flags.reshape(-1, *[1] * (like.ndim - 1))


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _solved(cost, p, q, implementation):
    if implementation == "host":
        return _called_back(cost, p, q)
    if implementation == "xla" or find_spec("numba") is None:
        return _in_lockstep(cost, p, q)
    return jax.lax.platform_dependent(
        cost, p, q, cpu=_called_back, default=_in_lockstep
    )


@_solved.defjvp
def _solved_jvp(implementation, primals, tangents):
    found = _solved(*primals, implementation)
    slopes = (found.plan, found.row_potential, found.column_potential)
    axes = ((-2, -1), (-1,), (-1,))
    change = sum(
        jnp.sum(jax.lax.stop_gradient(slope) * tangent, axis=axis)
        for slope, tangent, axis in zip(slopes, tangents, axes, strict=True)
    )
    still = jax.tree.map(jnp.zeros_like, found)
    return found, still._replace(cost=change)


def optimal_transport(
    cost: jax.Array,
    p: jax.Array,
    q: jax.Array,
    *,
    implementation: str | None = None,
) -> Transport:
    r"""Finds the cheapest way to move one distribution onto another, exactly.

    .. math:: \min_{G \ge 0} \sum_{ij} G_{ij} D_{ij}, \quad
              G \mathbf{1} = p, \quad G^\top \mathbf{1} = q

    Many problems are solved at once, by leading axes or by `jax.vmap`; those of other
    sizes are filled up with rows and columns of mass 0, which take no part, whatever
    their costs are.

    The work is done by a transportation simplex: on the host in float64, compiled by
    numba (``pip install kexue-jax[transport]``), one problem a thread; or in XLA, all
    problems step by step together, which suits accelerators and thousands of problems.

    Args:
      cost: D, ``[..., M, N]`` floating, what it costs to move one unit from i to j.
      p: ``[..., M]``, masses to be moved, not negative.
      q: ``[..., N]``, masses wanted; of the sum of `p` to 1e-4, or what the dtype
        rounds away, and rescaled to it.
      implementation: ``"host"``, ``"xla"`` or None, which is the host on CPUs where
        there is numba and XLA elsewhere. The host without numba is slow, and says so.

    Returns:
      A `Transport` in the dtype of `cost`. Where nothing is to be moved all is 0; where
      a problem has no solution that is known only when the program runs (masses that
      are negative or have other sums, a cost that is not finite) all is nan.

    Raises:
      ValueError: if the shapes disagree or the masses, where they are known, do, or
        there is no such implementation.

    Numerics: on the host float64 whatever the dtype; cost and gap are rounded last. In
      XLA float32, or float64 if `cost` is: the basis is optimal for costs rounded to
      :math:`2^{-30} (M + N)` of their range (:math:`2^{-52}` in float64); plan, cost
      and potentials are those of the basis for the costs as they are.
      Derivatives of any order in one direction: that of the cost by D is the plan, by
      p and q the potentials (up to a constant, as masses of another sum have no plan);
      plan and potentials count as constants, which they are almost everywhere.

    Source: https://kexue.fm/archives/7388

    >>> cost, q = jnp.array([[0.0, 2.0], [1.0, 4.0]]), jnp.array([0.75, 0.25])
    >>> optimal_transport(cost, jnp.array([0.5, 0.5]), q).plan.round(3).tolist()
    [[0.25, 0.25], [0.5, 0.0]]
    """
    cost, p, q = check_masses(cost, p, q)
    if implementation not in (None, "host", "xla"):
        raise ValueError(
            f"implementation must be host, xla or None, got {implementation!r}"
        )
    wide = numerics.widened(cost)
    masses = of_one_sum(p, q, wide.dtype)
    found = _solved(wide, *masses, implementation)
    return jax.tree.map(lambda x: x.astype(cost.dtype), found)
