"""The transportation simplex in XLA: many problems step by step together.

Costs and masses become integers, so that every comparison is exact, every pivot lowers
the cost, and there is no tolerance. A tree is kept as the set of ancestors of each
node: what a pivot changes is then a few operations on whole rows of bits, without
walking.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

DONE, BAD_COST, BAD_MASS, UNFINISHED = 0, 1, 2, 3


class _Tree(NamedTuple):
    """Nodes are M rows and N columns; a node's arc leads to its parent.

    `parent` ``[V]``, itself for a root and for what takes no part; `flow` ``[V]`` of
    the arc; `above` ``[V, V]`` bool, whether w is v or one of its ancestors.
    """

    parent: jax.Array
    flow: jax.Array
    above: jax.Array


def _whole(x, places):
    """Rounds to integers of the widest kind there is for the dtype."""
    kind = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    return jnp.round(x * places).astype(kind)


def _grains(mass, total, grain):
    """Integers of sum `grain`, at least 1 where there is mass."""
    share = jnp.floor(mass / total * grain)
    kind = jnp.int64 if mass.dtype == jnp.float64 else jnp.int32
    whole = jnp.where(mass > 0.0, jnp.maximum(share.astype(kind), 1), 0)
    return whole.at[jnp.argmax(mass)].add(grain - jnp.sum(whole))


def _masses(p, q, grain):
    """Supplies and demands of which no part of one is a part of the other."""
    rows = jnp.sum(p > 0.0).astype(jnp.int32)
    supply = _grains(p, jnp.sum(p), grain) * (rows + 1) + (p > 0.0)
    demand = _grains(q, jnp.sum(q), grain) * (rows + 1)
    return supply, demand.at[jnp.argmax(q)].add(rows)


def _begun(price, supply, demand):
    """A first tree: each row in turn fills the columns that cost it least.

    Prices are less the least of their column, and the rows that would lose most by
    their second choice come first.
    """
    rows, columns = price.shape
    nodes = rows + columns
    second = jnp.sort(price, axis=1)[:, min(1, columns - 1)]
    order = jnp.argsort(jnp.min(price, axis=1) - second)
    far = jnp.iinfo(price.dtype).max
    kind = supply.dtype

    def fill(_, state):
        turn, supply, demand, tree = state
        row = order[jnp.minimum(turn, rows - 1)]
        left = supply[row]
        column = jnp.argmin(jnp.where(demand > 0, price[row], far))
        moved = jnp.minimum(left, demand[column])
        acts = moved > 0
        dry = left <= demand[column]  # a row, at the last arc, too
        node = jnp.where(dry, row, rows + column)
        other = jnp.where(dry, rows + column, row)
        above = tree.above  # what hangs from the node hangs from the other now
        below = above[:, other] | (above[:, node] & acts)
        tree = _Tree(
            tree.parent.at[node].set(jnp.where(acts, other, tree.parent[node])),
            tree.flow.at[node].set(jnp.where(acts, moved, tree.flow[node])),
            above.at[:, other].set(below),
        )
        turn = turn + (dry | ~acts)
        return turn, supply.at[row].add(-moved), demand.at[column].add(-moved), tree

    tree = _Tree(jnp.arange(nodes), jnp.zeros(nodes, kind), jnp.eye(nodes, dtype=bool))
    state = (jnp.zeros((), jnp.int32), supply, demand, tree)
    # A row without supply takes a turn, too.
    return jax.lax.fori_loop(0, nodes + rows, fill, state)[-1]


def _arc(parent, rows):
    """Row and column of each node's arc, and whether there is one."""
    node = jnp.arange(len(parent))
    row = jnp.where(node < rows, node, parent)
    column = jnp.where(node < rows, parent, node) - rows
    return jnp.clip(row, 0, rows - 1), jnp.maximum(column, 0), parent != node


def _potentials(tree, cost):
    """f and g with f_i + g_j equal to the cost of every arc; 0 at the roots."""
    rows = cost.shape[0]
    row, column, is_arc = _arc(tree.parent, rows)
    price = jnp.where(is_arc, cost[row, column], 0)
    sign = jnp.where(jnp.arange(len(price)) < rows, 1, -1).astype(cost.dtype)
    total = sign * jnp.sum(jnp.where(tree.above, sign * price, 0), axis=1)
    return total[:rows], total[rows:]


def _pivoted(tree, row, column, rows):
    """Lets an arc enter the tree and the one that runs dry leave it."""
    parent, flow, above = tree
    node = jnp.arange(len(parent))
    is_row, far = node < rows, jnp.iinfo(flow.dtype).max
    i, j = row, rows + column
    of_row, of_column = above[i] & ~above[j], above[j] & ~above[i]
    falls = (of_row & is_row) | (of_column & ~is_row)
    leaving = jnp.argmin(jnp.where(falls, flow, far))
    moved = flow[leaving]
    flow = flow + jnp.where(
        falls, -moved, jnp.where(of_row | of_column, moved, jnp.zeros_like(moved))
    )
    inner = jnp.where(of_column[leaving], j, i)
    outer = jnp.where(of_column[leaving], i, j)
    # The part that comes off hangs from `inner` now: arcs between it and `leaving` are
    # turned, each then belongs to the node that was above.
    part = above[:, leaving]
    path = above[inner] & part
    to = jnp.where(path & (node != leaving), parent, len(parent))
    flow = flow.at[to].set(flow, mode="drop").at[inner].set(moved)
    parent = parent.at[to].set(node, mode="drop").at[inner].set(outer)
    # Where the way from a node to `inner` turns: as deep as the two have in common.
    kept = above & part[None, :]
    shared = jnp.sum(kept & above[inner][None, :], axis=1)
    deep = jnp.sum(kept, axis=1)
    turn = path[None, :] & (deep[None, :] == shared[:, None])
    way = (kept ^ path[None, :]) | turn | above[outer][None, :]
    return _Tree(parent, flow, jnp.where(part[:, None], way, above))


def _solve(cost, p, q):
    """Solves one problem; see `transport_lockstep`."""
    rows, columns = cost.shape
    nodes, dtype = rows + columns, cost.dtype
    with_row, with_column = p > 0.0, q > 0.0
    pair = with_row[:, None] & with_column[None, :]
    total, other = jnp.sum(p), jnp.sum(q)
    good_mass = (
        jnp.all((p >= 0.0) & (p < jnp.inf))
        & jnp.all((q >= 0.0) & (q < jnp.inf))
        & (jnp.abs(total - other) <= 1e-4 * jnp.maximum(total, other))
    )
    good_cost = jnp.all(jnp.where(pair, jnp.isfinite(cost), True))
    good = good_mass & good_cost
    some = good & (total > 0.0)
    # What cannot be solved, or is nothing, gets a problem that is done at once.
    p = jnp.where(some, p, jnp.zeros_like(p).at[0].set(1.0))
    q = jnp.where(some, q * (total / jnp.where(other > 0.0, other, 1.0)), 0.0)
    q = jnp.where(some, q, q.at[0].set(1.0))
    real = (p > 0.0)[:, None] & (q > 0.0)[None, :]
    own = jnp.where(real & good, cost, 0.0)

    bits = 61 if dtype == jnp.float64 else 30
    spread = jnp.max(jnp.where(real, own, -jnp.inf)) - jnp.min(
        jnp.where(real, own, jnp.inf)
    )
    low = jnp.min(jnp.where(real, own, jnp.inf))
    # Potentials are sums of at most as many costs as there are nodes.
    fine = min(2.0 ** (bits - nodes.bit_length()), 2.0**52)
    places = fine / jnp.where(spread > 0.0, spread, 1.0)
    price = _whole(jnp.where(real, own - low, 0.0), places)
    far = jnp.iinfo(price.dtype).max
    least = jnp.min(jnp.where(real, price, far), axis=0)
    supply, demand = _masses(p, q, min(2**bits // (rows + 2), 2**46))
    start = jnp.where(real, price - least[None, :], far)
    tree = _begun(start, supply, demand)

    def entering(tree):
        f, g = _potentials(tree, price)
        gain = jnp.where(real, price - f[:, None] - g[None, :], 0)
        at = jnp.argmin(gain)
        return at, gain.reshape(-1)[at]

    def more(state):
        _, (_, gain), pivots = state
        return (gain < 0) & (pivots < 100 * nodes)

    def step(state):
        tree, (at, _), pivots = state
        tree = _pivoted(tree, at // columns, at % columns, rows)
        return tree, entering(tree), pivots + 1

    state = (tree, entering(tree), jnp.zeros((), jnp.int32))
    tree, (_, gain), pivots = jax.lax.while_loop(more, step, state)

    row, column, is_arc = _arc(tree.parent, rows)
    sign = jnp.where(jnp.arange(nodes) < rows, 1.0, -1.0).astype(dtype)
    mass = sign * jnp.concatenate([p, q])
    net = sign * jnp.sum(jnp.where(tree.above, mass[:, None], 0.0), axis=0)
    flow = jnp.where(is_arc & some, jnp.maximum(net, 0.0), 0.0)
    plan = jnp.zeros_like(cost).at[row, column].add(flow)
    f, g = _potentials(tree, own)
    count = jnp.sum(p > 0.0)
    mean = jnp.sum(jnp.where(p > 0.0, f, 0.0)) / count
    f, g = _allowed(cost, f - mean, g + mean, p > 0.0, q > 0.0)
    f, g = jnp.where(some, f, 0.0), jnp.where(some, g, 0.0)
    bad = jnp.where(good_mass, BAD_COST, BAD_MASS)
    late = jnp.where(gain < 0, UNFINISHED, DONE)
    status = jnp.where(good, jnp.where(some, late, DONE), bad)
    return plan, f, g, status, jnp.where(some, pivots, 0)


def _allowed(cost, f, g, with_row, with_column):
    """The greatest potentials that are allowed, but for those of rows with mass.

    Those of columns change by what was rounded; then they prove what they say.
    """

    def least(price, counts, axis):
        known = counts & ~jnp.isnan(price)
        found = jnp.min(jnp.where(known, price, jnp.inf), axis=axis)
        return jnp.where(jnp.isfinite(found), found, 0.0)

    by_row = least(cost - g[None, :], with_column[None, :], 1)
    f = jnp.where(with_row, f, by_row)
    of_mass = least(cost - f[:, None], with_row[:, None], 0)
    return f, jnp.where(with_column, of_mass, least(cost - f[:, None], True, 0))


def transport_lockstep(
    cost: jax.Array, p: jax.Array, q: jax.Array
) -> tuple[jax.Array, ...]:
    r"""Solves problems of optimal transport exactly, all of them step by step together.

    .. math:: \min_{G \ge 0} \sum_{ij} G_{ij} D_{ij}, \quad
              G \mathbf{1} = p, \quad G^\top \mathbf{1} = q

    A step takes :math:`(M + N)^2` operations on bits and M N on integers for each
    problem, and there are as many steps as the slowest problem needs, about M + N: for
    accelerators, and for many small problems.

    Args:
      cost: D, ``[B, M, N]`` float32 or float64; entries in rows and columns without
        mass may be anything.
      p: ``[B, M]``, not negative; rows of mass 0 take no part, as padding.
      q: ``[B, N]``, likewise, of the same sum; what differs by less than 1e-4 is
        rescaled to that of `p`.

    Returns:
      The plan G ``[B, M, N]`` with at most M + N - 1 entries that are not 0, and
      potentials f ``[B, M]`` and g ``[B, N]``, for which :math:`f_i + g_j \le D_{ij}`
      with equality where G is positive; f has mean 0 over the rows with mass. Then
      ``status`` ``[B]``: 0 solved, 1 a cost is not finite, 2 masses that cannot be
      moved (negative, not finite, of other sums), 3 not done after 100 (M + N) steps;
      and the ``pivots`` ``[B]`` it took. All is zeros where a problem is not solved or
      nothing is to be moved.

    Raises:
      ValueError: if the shapes or the dtypes disagree.

    Numerics: for the choice of the basis costs are rounded to
      :math:`2^{30} / (M + N)` steps between the least and the greatest, masses to
      about :math:`2^{30} / M` grains (52 and 46 bits in float64); plan and potentials
      are then those of the basis for what was given, in its dtype.
    """
    if cost.ndim != 3 or p.shape != cost.shape[:2] or q.shape != cost.shape[::2]:
        raise ValueError(
            "cost, p and q must be [B, M, N], [B, M] and [B, N], got "
            f"{cost.shape}, {p.shape} and {q.shape}"
        )
    dtypes = {x.dtype for x in (cost, p, q)}
    if len(dtypes) > 1 or not dtypes <= {jnp.dtype("float32"), jnp.dtype("float64")}:
        raise ValueError(
            "cost, p and q must be float32 or all float64, got "
            f"{cost.dtype}, {p.dtype} and {q.dtype}"
        )
    return jax.vmap(_solve)(cost, p, q)
