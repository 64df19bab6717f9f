"""Parameters whose greatest error is least, found on the host in float64."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Minimax(NamedTuple):
    """What `minimax` found: the proof is that errors at the points are equal."""

    parameters: np.ndarray  # [P]
    error: float  # the greatest, in size
    points: np.ndarray  # [P + 1], where it is reached, with signs in turn


def minimax(
    error: Callable[[np.ndarray, np.ndarray], np.ndarray],
    start: np.ndarray,
    grid: np.ndarray,
    *,
    steps: int = 30,
) -> Minimax:
    r"""The parameters p that minimise :math:`\max_x |e(p, x)|`.

    A search by simplices comes near; then the errors at P + 1 extrema with signs in
    turn are made equal by Newton's method, as Remez does for polynomials.

    Args:
      error: e, from parameters ``[P]`` and points ``[X]`` to errors ``[X]``, smooth in
        both.
      start: ``[P]``, where to begin; none of them 0.
      grid: ``[X]``, increasing, points so dense that neighbours of an extremum lie on
        its parabola.
      steps: of Newton's method.

    Returns:
      `Minimax`, float64.

    Raises:
      ValueError: if the error at the best parameters has fewer than P + 1 extrema with
        signs in turn: then more parameters would be as good, or `start` was too far.
    """
    start, grid = np.asarray(start, np.float64), np.asarray(grid, np.float64)

    def greatest(parameters):
        return float(np.max(np.abs(error(parameters, grid))))

    best = _simplex(greatest, start)
    for _ in range(steps):
        points = _alternation(error, best, grid)
        values = error(best, points)
        # Newton: e(p, x) + J dp = sign * level, for dp and the level.
        signs = np.sign(values)
        matrix = np.column_stack([_jacobian(error, best, points), -signs])
        change = np.linalg.solve(matrix, -values)[:-1]
        best = best + change
        if np.max(np.abs(change)) < 1e-13 * np.max(np.abs(best)):
            break
    points = _alternation(error, best, grid)
    return Minimax(best, float(np.max(np.abs(error(best, points)))), points)


def _jacobian(error, parameters, points):
    columns = []
    for step in np.diag(1e-5 * np.abs(parameters)):
        ahead, behind = (
            error(parameters + step, points),
            error(parameters - step, points),
        )
        columns.append((ahead - behind) / (2.0 * step.sum()))
    return np.column_stack(columns)


def _alternation(error, parameters, grid):
    """The P + 1 neighbouring extrema of signs in turn that are greatest."""
    values, wanted = error(parameters, grid), len(parameters) + 1
    sign = np.sign(values)
    ends = np.flatnonzero(sign[1:] * sign[:-1] < 0) + 1
    runs = np.split(np.arange(len(grid)), ends)
    tops = np.array([run[np.argmax(np.abs(values[run]))] for run in runs])
    if len(tops) < wanted:
        raise ValueError(
            f"{wanted} extrema with signs in turn are needed, got {len(tops)}; "
            "try another start or a wider grid"
        )
    sizes = np.abs(values[tops])
    first = np.argmax(
        [sizes[i : i + wanted].sum() for i in range(len(tops) - wanted + 1)]
    )
    return np.array([_vertex(grid, values, i) for i in tops[first : first + wanted]])


def _vertex(grid, values, i):
    """Where the parabola through three neighbours has its extremum."""
    if i in (0, len(grid) - 1):
        return grid[i]
    (left, x, right), (a, b, c) = grid[i - 1 : i + 2], values[i - 1 : i + 2]
    above, below = (b - a) / (x - left), (c - b) / (right - x)
    if above == below:
        return x
    return 0.5 * (left + x + above * (right - left) / (above - below))


def _simplex(function, start, steps=400):
    """Nelder and Mead's search."""
    points = [start, *(start + step for step in np.diag(0.1 * start))]
    order = sorted((function(p), tuple(p)) for p in points)
    for _ in range(steps):
        worst = np.array(order[-1][1])
        centre = np.mean([p for _, p in order[:-1]], axis=0)

        def at(factor, centre=centre, worst=worst):
            point = centre + factor * (centre - worst)
            return function(point), tuple(point)

        new = at(1.0)
        if new[0] < order[0][0]:
            new = min(new, at(2.0))
        elif new[0] >= order[-2][0]:
            new = min(at(0.5), at(-0.5))
        if new[0] < order[-1][0]:
            order = sorted([*order[:-1], new])
        else:
            top = np.array(order[0][1])
            shrunk = (0.5 * (top + np.array(p)) for _, p in order[1:])
            order = sorted([order[0], *((function(p), tuple(p)) for p in shrunk)])
        if order[-1][0] - order[0][0] < 1e-9 * order[0][0]:
            break
    return np.array(order[0][1])
