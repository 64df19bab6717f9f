"""The cheapest assignment of rows to columns, with potentials that prove it.

Plain Python on NumPy arrays, which `transport_simplex` compiles with what it calls.
"""

import numpy as np


def _two_least(line, prices):
    """The two least entries of a row less prices, and where they are."""
    first, second = np.inf, np.inf
    at_first, at_second = -1, -1
    for j in range(len(line)):
        price = line[j] - prices[j]
        if price < second:
            if price < first:
                first, second = price, first
                at_first, at_second = j, at_first
            else:
                second, at_second = price, j
    return first, at_first, second, at_second


def _reduce(cost, column_of, row_of, g, free):
    """Takes what is cheapest; returns how many rows are left, listed in `free`."""
    size = len(cost)
    claims = np.zeros(size, np.int64)
    g[:] = cost[0]
    cheapest = np.zeros(size, np.int64)
    for i in range(1, size):
        for j in range(size):
            if cost[i, j] < g[j]:
                g[j], cheapest[j] = cost[i, j], i
    for j in range(size - 1, -1, -1):
        i = cheapest[j]
        claims[i] += 1
        if claims[i] == 1:
            column_of[i], row_of[j] = j, i
    count = 0
    for i in range(size):
        if claims[i] == 0:
            free[count] = i
            count += 1
        elif claims[i] == 1:
            own, least = column_of[i], np.inf
            for j in range(size):
                if j != own and cost[i, j] - g[j] < least:
                    least = cost[i, j] - g[j]
            if least < np.inf:
                g[own] -= least
    return count


def _displace(cost, column_of, row_of, g, free, count):
    """Gives free rows what is cheapest for them, and frees who had it."""
    size, at, left, turns = len(cost), 0, 0, 0
    while at < count:
        i = free[at]
        at += 1
        turns += 1
        first, j, second, other = _two_least(cost[i], g)
        held = row_of[j]
        lower = g[j] - (second - first)
        lowers = other >= 0 and lower < g[j]
        if turns < at * size:  # else rows would take from each other for ever
            if lowers:
                g[j] = lower
            elif held >= 0 and other >= 0:
                j = other
                held = row_of[j]
            if held >= 0 and lowers:
                at -= 1
                free[at] = held
                column_of[held] = -1
                held = -1
        if held >= 0:
            free[left] = held
            left += 1
            column_of[held] = -1
        column_of[i], row_of[j] = j, i
    return left


def _augment(cost, row, column_of, row_of, g, distance, before, order):
    """Finds the shortest way from a free row to a free column, and walks it.

    `order` lists columns: those that are settled, those at the least distance, and the
    others.
    """
    size = len(cost)
    for j in range(size):
        distance[j], before[j], order[j] = cost[row, j] - g[j], row, j
    settled, reached, goal = 0, 0, -1
    least, last = 0.0, 0
    while goal < 0:
        if settled == reached:
            last = settled
            least = distance[order[reached]]
            reached += 1
            for k in range(reached, size):
                j = order[k]
                if distance[j] <= least:
                    if distance[j] < least:
                        reached, least = settled, distance[j]
                    order[k], order[reached] = order[reached], j
                    reached += 1
            for k in range(settled, reached):
                if row_of[order[k]] < 0:
                    goal = order[k]
                    break
        while goal < 0 and settled < reached:
            own = order[settled]
            i = row_of[own]
            settled += 1
            base = cost[i, own] - g[own] - least
            for k in range(reached, size):
                j = order[k]
                way = cost[i, j] - g[j] - base
                if way < distance[j]:
                    distance[j], before[j] = way, i
                    if way == least:
                        if row_of[j] < 0:
                            goal = j
                            break
                        order[k], order[reached] = order[reached], j
                        reached += 1
    for k in range(last):
        g[order[k]] += distance[order[k]] - least
    j, i = goal, -1
    while i != row:
        i = before[j]
        row_of[j] = i
        column_of[i], j = j, column_of[i]


def _assign(cost, column_of, f, g):
    """Writes each row's column, and potentials with f_i + g_j <= cost_ij.

    `cost` is ``[N, N]`` and finite. Source: Jonker and Volgenant, Computing 38 (1987).
    """
    size = len(cost)
    row_of, free = np.full(size, -1, np.int64), np.empty(size, np.int64)
    column_of[:] = -1
    count = _reduce(cost, column_of, row_of, g, free)
    for _ in range(2):
        if count:
            count = _displace(cost, column_of, row_of, g, free, count)
    distance = np.empty(size)
    before, order = np.empty(size, np.int64), np.empty(size, np.int64)
    for k in range(count):
        _augment(cost, free[k], column_of, row_of, g, distance, before, order)
    for i in range(size):
        f[i] = cost[i, column_of[i]] - g[column_of[i]]


PARTS = (_two_least, _reduce, _displace, _augment, _assign)
"""In the order in which they need each other."""
