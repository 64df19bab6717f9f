"""The transportation simplex: exact optimal transport on the host, for many problems.

The code is plain Python on NumPy arrays. With numba it is compiled and takes some
microseconds for sentences; without, it is the same and very much slower.
Equal masses of as many rows as columns are an assignment, which is found faster.
"""

import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module

import numpy as np

from kexue_jax.algorithms import assignment
from kexue_jax.algorithms.assignment import _assign

# Masses become integers of this sum, so that flows are exact and never degenerate.
GRAIN = 1 << 46
MOST_ROWS = 1 << 15
BLOCK = 4  # rows that are looked at before the best pair in them enters
DONE, BAD_COST, BAD_MASS = 0, 1, 2


def _grains(mass, total, out):
    """Writes integers >= 1 of sum GRAIN, in proportion to `mass` > 0."""
    used, largest = 0, 0
    for i in range(len(mass)):
        out[i] = max(1, int(mass[i] / total * GRAIN))
        used += out[i]
        if mass[i] > mass[largest]:
            largest = i
    out[largest] += GRAIN - used


def _begin(cost, supply, demand, arc_row, arc_column, arc_flow):
    """A first tree: each row in turn fills the columns that cost it least.

    Costs are compared less the least of their column, and the rows that would lose most
    by their second choice come first: so few take what others need more.
    """
    rows, columns = cost.shape
    least = cost[0].copy()
    for i in range(1, rows):
        line = cost[i]
        for j in range(columns):
            least[j] = min(least[j], line[j])
    regret = np.empty(rows)
    for i in range(rows):
        line = cost[i]
        first, second, times = np.inf, np.inf, 0
        for j in range(columns):
            first = min(first, line[j] - least[j])
        for j in range(columns):
            price = line[j] - least[j]
            second = min(second, price if price > first else np.inf)
            times += price <= first
        regret[i] = first - second if times == 1 else 0.0
    count = 0
    for i in np.argsort(regret):
        line = cost[i]
        while supply[i] > 0:
            best, at = np.inf, -1
            for j in range(columns):
                if line[j] - least[j] < best:
                    best, at = line[j] - least[j], j
            moved = min(supply[i], demand[at])
            supply[i] -= moved
            demand[at] -= moved
            if demand[at] == 0:
                least[at] = -np.inf  # costs without end
            arc_row[count], arc_column[count], arc_flow[count] = i, at, moved
            count += 1
    return count


def _plant(arc_row, arc_column, arc_flow, count, rows, tree, flow, buffer):
    """Roots the tree of the arcs at row 0.

    `order` lists a node, then all below it, before any other: from its `place` on they
    are `size` entries.
    """
    parent, size, order, place = tree
    first = np.full(count + 1, -1, np.int64)
    following = np.empty(2 * count, np.int64)
    for arc in range(count):
        for side, node in ((0, arc_row[arc]), (1, rows + arc_column[arc])):
            following[2 * arc + side] = first[node]
            first[node] = 2 * arc + side
    parent[0] = -1
    buffer[0], left, at = 0, 1, 0
    while left > 0:
        left -= 1
        node = buffer[left]
        order[at], place[node], size[node] = node, at, 1
        at += 1
        half = first[node]
        while half >= 0:
            arc = half // 2
            other = rows + arc_column[arc] if half % 2 == 0 else arc_row[arc]
            if other != parent[node]:
                parent[other], flow[other] = node, arc_flow[arc]
                buffer[left] = other
                left += 1
            half = following[half]
    for at in range(count, 0, -1):
        node = order[at]
        size[parent[node]] += size[node]


def _price_tree(cost, rows, tree, potential):
    """Sets f and g so that f_i + g_j is the cost of every arc of the tree."""
    parent, _, order, _ = tree
    potential[0] = 0.0
    for at in range(1, len(order)):
        node = order[at]
        up = parent[node]
        price = cost[node, up - rows] if node < rows else cost[up, node - rows]
        potential[node] = price - potential[up]


def _enter(cost, rows, potential, start, tolerance):
    """Finds a pair that would lower the cost, the best of a block of rows, or -1."""
    columns = cost.shape[1]
    g = potential[rows:]
    best, row = -tolerance, -1
    seen = 0
    while seen < rows:
        stop = min(seen + BLOCK, rows)
        while seen < stop:
            i = start + seen
            if i >= rows:
                i -= rows
            seen += 1
            line = cost[i]
            least = line[0] - g[0]
            for j in range(1, columns):
                least = min(least, line[j] - g[j])
            if least - potential[i] < best:
                best, row = least - potential[i], i
        if row >= 0:
            break
    if row < 0:
        return -1, -1, start
    line, least, column = cost[row], np.inf, -1
    for j in range(columns):
        if line[j] - g[j] < least:
            least, column = line[j] - g[j], j
    return row, column, (start + seen) % rows


def _pivot(row, column, gain, rows, tree, flow, potential, buffer):
    """Lets a pair enter the tree and the arc that runs dry leave it."""
    parent, size, order, place = tree
    i, j = row, rows + column
    dry, leaving, of_column = np.int64(1 << 62), -1, False
    a, b = i, j
    while a != b:
        if size[a] <= size[b]:  # then b is not below a
            if a < rows and flow[a] < dry:
                dry, leaving, of_column = flow[a], a, False
            a = parent[a]
        else:
            if b >= rows and flow[b] < dry:
                dry, leaving, of_column = flow[b], b, True
            b = parent[b]
    top = a
    a = i
    while a != top:
        flow[a] += -dry if a < rows else dry
        a = parent[a]
    b = j
    while b != top:
        flow[b] += -dry if b >= rows else dry
        b = parent[b]
    inner, outer = (j, i) if of_column else (i, j)
    moved = size[leaving]
    first, last = place[leaving], place[leaving] + moved
    # Below `outer` it comes first or last, whichever is nearer.
    to, end = place[outer] + 1, place[outer] + size[outer]
    if end <= first or (to <= first and end - last < first - to):
        to = end
    a = parent[leaving]
    while a != top:
        size[a] -= moved
        a = parent[a]
    b = outer
    while b != top:
        size[b] += moved
        b = parent[b]
    # The part is turned over: `inner` and all below it, what was above it, and so on.
    node, above, carried, below, count = inner, outer, dry, 0, 0
    low = high = place[inner]
    while True:
        start, stop = place[node], place[node] + size[node]
        for at in range(start, low):
            buffer[count] = order[at]
            count += 1
        for at in range(high, stop):
            buffer[count] = order[at]
            count += 1
        low, high = start, stop
        up, amount = parent[node], flow[node]
        parent[node], flow[node], size[node] = above, carried, moved - below
        if node == leaving:
            break
        node, above, carried, below = up, node, amount, stop - start
    if to <= first:
        for at in range(first - 1, to - 1, -1):
            order[at + moved] = order[at]
        start, stop, base = to, last, to
    else:
        for at in range(last, to):
            order[at - moved] = order[at]
        start, stop, base = first, to, to - moved
    of_rows = -gain if of_column else gain
    for at in range(moved):
        node = buffer[at]
        order[base + at] = node
        potential[node] += of_rows if node < rows else -of_rows
    for at in range(start, stop):
        place[order[at]] = at


def _solve(cost, p, q, plan, f, g):
    """Solves one problem; returns whether it could, and the number of pivots.

    `plan`, `f` and `g` are written; rows and columns without mass take no part.
    """
    total, other = 0.0, 0.0
    rows, columns = 0, 0
    at_row = np.empty(len(p), np.int64)
    at_column = np.empty(len(q), np.int64)
    plan[:] = 0.0
    f[:] = 0.0
    g[:] = 0.0
    for i in range(len(p)):
        if not 0.0 <= p[i] < np.inf:
            return BAD_MASS, 0
        if p[i] > 0:
            at_row[rows] = i
            rows += 1
            total += p[i]
    for j in range(len(q)):
        if not 0.0 <= q[j] < np.inf:
            return BAD_MASS, 0
        if q[j] > 0:
            at_column[columns] = j
            columns += 1
            other += q[j]
    if rows == 0 and columns == 0:
        return DONE, 0
    if rows == 0 or columns == 0 or abs(total - other) > 1e-4 * max(total, other):
        return BAD_MASS, 0
    # Equal sums: what float32 lost is given back in proportion.
    p_own, q_own = np.empty(rows), np.empty(columns)
    for i in range(rows):
        p_own[i] = p[at_row[i]]
    for j in range(columns):
        q_own[j] = q[at_column[j]] * (total / other)
    own = np.empty((rows, columns))
    largest = 0.0
    for i in range(rows):
        for j in range(columns):
            own[i, j] = cost[at_row[i], at_column[j]]
            if not abs(own[i, j]) < np.inf:
                return BAD_COST, 0
            largest = max(largest, abs(own[i, j]))
    nodes = rows + columns
    potential = np.empty(nodes)
    if rows == columns and _is_flat(p_own) and _is_flat(q_own):
        column_of = np.empty(rows, np.int64)
        _assign(own, column_of, potential[:rows], potential[rows:])
        for i in range(rows):
            plan[at_row[i], at_column[column_of[i]]] = p_own[i]
        _price(cost, p, q, potential, at_row, at_column, f, g)
        return DONE, 0
    supply, demand = np.empty(rows, np.int64), np.empty(columns, np.int64)
    _grains(p_own, total, supply)
    _grains(q_own, total, demand)
    # No part of the rows is now worth exactly a part of the columns: every flow of a
    # tree is positive, every pivot lowers the cost, and none is ever made twice.
    for i in range(rows):
        supply[i] = supply[i] * (rows + 1) + 1
    for j in range(columns):
        demand[j] *= rows + 1
    demand[columns - 1] += rows
    arc_row = np.empty(nodes, np.int64)
    arc_column = np.empty(nodes, np.int64)
    arc_flow = np.empty(nodes, np.int64)
    count = _begin(own, supply, demand, arc_row, arc_column, arc_flow)
    tree = (
        np.empty(nodes, np.int64),
        np.empty(nodes, np.int64),
        np.empty(nodes, np.int64),
        np.empty(nodes, np.int64),
    )
    flow, buffer = np.zeros(nodes, np.int64), np.empty(nodes, np.int64)
    _plant(arc_row, arc_column, arc_flow, count, rows, tree, flow, buffer)
    _price_tree(own, rows, tree, potential)
    # Above what is lost in a tree and in as many pivots: a gain is then a true one.
    tolerance = 1e-15 * nodes * largest
    start, pivots, fresh = 0, 0, True
    while True:
        row, column, start = _enter(own, rows, potential, start, tolerance)
        if row < 0:
            if fresh:
                break
            # What was added up is made anew before its word is taken.
            _price_tree(own, rows, tree, potential)
            fresh = True
            continue
        gain = own[row, column] - potential[row] - potential[rows + column]
        _pivot(row, column, gain, rows, tree, flow, potential, buffer)
        pivots += 1
        fresh = pivots % nodes == 0
        if fresh:
            _price_tree(own, rows, tree, potential)
    _write(tree, rows, p_own, q_own, at_row, at_column, plan)
    _price(cost, p, q, potential, at_row, at_column, f, g)
    return DONE, pivots


def _is_flat(mass):
    """Whether all masses are the same."""
    return mass.min() == mass.max()


def _write(tree, rows, p, q, at_row, at_column, plan):
    """Writes the plan of the tree for the masses as they were given."""
    parent, _, order, _ = tree
    nodes = len(order)
    net = np.empty(nodes)
    for node in range(nodes):
        net[node] = p[node] if node < rows else -q[node - rows]
    for at in range(nodes - 1, 0, -1):
        node = order[at]
        up = parent[node]
        if node < rows:
            plan[at_row[node], at_column[up - rows]] = max(net[node], 0.0)
        else:
            plan[at_row[up], at_column[node - rows]] = max(-net[node], 0.0)
        net[up] += net[node]


def _price(cost, p, q, potential, at_row, at_column, f, g):
    """Writes potentials; without mass they are the greatest that are allowed."""
    rows = 0
    for i in range(len(p)):
        rows += p[i] > 0
    mean = 0.0
    for i in range(rows):
        mean += potential[i] / rows
    for i in range(rows):
        f[at_row[i]] = potential[i] - mean
    for j in range(len(potential) - rows):
        g[at_column[j]] = potential[rows + j] + mean
    for i in range(len(p)):
        if p[i] == 0:
            least = np.inf
            for j in range(len(q)):
                if q[j] > 0 and cost[i, j] - g[j] < least:
                    least = cost[i, j] - g[j]
            f[i] = least if least < np.inf else 0.0
    for j in range(len(q)):
        if q[j] == 0:
            least = np.inf
            for i in range(len(p)):
                if cost[i, j] - f[i] < least:
                    least = cost[i, j] - f[i]
            g[j] = least if least < np.inf else 0.0


def _solve_some(cost, p, q, plan, f, g, status, pivots, first, last):
    for b in range(first, last):
        status[b], pivots[b] = _solve(cost[b], p[b], q[b], plan[b], f[b], g[b])


@cache
def _compiled():
    """The same functions, compiled where there is numba; and whether they are."""
    try:
        numba = import_module("numba")
    except ImportError:
        warnings.warn(
            "optimal transport on the host runs in plain Python, very much slower than "
            "compiled: install numba, or kexue-jax[transport]",
            stacklevel=2,
        )
        return _solve_some, False
    inner = [
        *assignment.PARTS,
        _grains,
        _begin,
        _plant,
        _price_tree,
        _enter,
        _pivot,
        _write,
        _price,
        _is_flat,
        _solve,
        _solve_some,
    ]
    made: dict = {}
    for function in inner:
        scope = dict(function.__globals__) | made
        copy = type(function)(function.__code__, scope, function.__name__)
        scans = function in (_begin, _enter)
        fast = {"reassoc", "nsz", "nnan"} if scans else False
        made[function.__name__] = numba.njit(nogil=True, fastmath=fast)(copy)
    return made["_solve_some"], True


def _cores() -> int:
    """How many cores this process may use, as far as the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="transport")


def in_pieces(
    work: Callable[[int, int], None], count: int, *, workers: int | None = None
) -> None:
    """Calls ``work(first, last)`` for pieces of a range, several at a time.

    Args:
      work: what to do from `first` to before `last`; of use where it lets others run,
        as compiled code and NumPy do.
      count: the end of the range, which begins at 0.
      workers: threads; default as many as there are cores, or one if nothing is
        compiled.
    """
    if count > 1 and workers is None:  # to ask takes as long as a small problem
        workers = _cores() if _compiled()[1] else 1
    workers = min(workers or 1, count)
    if workers < 2:
        work(0, count)
        return
    # Small pieces, as some problems take longer than others.
    step = max(1, count // (8 * workers))
    pieces = [(at, min(at + step, count)) for at in range(0, count, step)]
    for done in [_pool(workers).submit(work, *piece) for piece in pieces]:
        done.result()


def transport_simplex(
    cost: np.ndarray, p: np.ndarray, q: np.ndarray, *, workers: int | None = None
) -> tuple[np.ndarray, ...]:
    r"""Solves problems of optimal transport exactly, in float64.

    .. math:: \min_{G \ge 0} \sum_{ij} G_{ij} D_{ij}, \quad
              G \mathbf{1} = p, \quad G^\top \mathbf{1} = q

    Args:
      cost: D, ``[B, M, N]`` float; entries in rows and columns without mass may be
        anything.
      p: ``[B, M]``, not negative; rows of mass 0 take no part, as padding.
      q: ``[B, N]``, likewise, of the same sum; what differs by less than 1e-4 is
        rescaled to that of `p`.
      workers: threads; default as many as there are cores.

    Returns:
      The plan G ``[B, M, N]`` with at most M + N - 1 entries that are not 0, and
      potentials f ``[B, M]`` and g ``[B, N]``, for which :math:`f_i + g_j \le D_{ij}`
      with equality where G is positive; f has mean 0 over the rows with mass. Then
      ``status`` ``[B]``: 0 solved, 1 a cost is not finite, 2 masses that cannot be
      moved (negative, not finite, of other sums); and the ``pivots`` ``[B]`` it
      took, none for an assignment. All that is not solved is zeros, and so is all
      where nothing is to be moved.

    Raises:
      ValueError: if the shapes disagree, or there are more than 32768 rows.

    Numerics: masses are rounded to 46 bits for the choice of the basis and made so
      that no basis is degenerate; plan and potentials are then those of the basis for
      the masses as given. What a pair could still gain is at most 1e-15 of the
      largest cost for each row and column, and so is the gap for masses of sum 1.

    Source: https://kexue.fm/archives/7388, which calls a general linear solver; the
      simplex on trees is Dantzig's (1951), the assignment Jonker and Volgenant's.
    """
    cost, p, q = (np.ascontiguousarray(x, np.float64) for x in (cost, p, q))
    if cost.ndim != 3 or p.shape != cost.shape[:2] or q.shape != cost.shape[::2]:
        raise ValueError(
            "cost, p and q must be [B, M, N], [B, M] and [B, N], got "
            f"{cost.shape}, {p.shape} and {q.shape}"
        )
    if cost.shape[1] > MOST_ROWS:
        raise ValueError(f"cost must have at most {MOST_ROWS} rows, got {cost.shape}")
    batch = len(cost)
    plan, f, g = np.empty(cost.shape), np.empty(p.shape), np.empty(q.shape)
    status, pivots = np.empty((2, batch), np.int64)
    arrays = (cost, p, q, plan, f, g, status, pivots)
    solve, _ = _compiled()
    in_pieces(lambda *piece: solve(*arrays, *piece), batch, workers=workers)
    return plan, f, g, status, pivots
