"""The texts nearest to others by WMD or WRD, without solving for most of them."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.algorithms.directions import directions
from kexue_jax.algorithms.transport_lockstep import transport_lockstep
from kexue_jax.algorithms.transport_simplex import transport_simplex
from kexue_jax.metrics.costs import cosine_costs, euclidean_costs
from kexue_jax.metrics.word_movers import relaxed_bound, rotators_weights

GROUP = 32  # problems solved before the greatest distance of interest is looked at
SLACK = 1e-5  # of a bound: float32 may have made it greater than it is


class Neighbours(NamedTuple):
    """What is nearest to each query.

    Attributes:
      index: ``[Q, k]`` int64, texts by increasing distance; -1 where there are fewer.
      distance: ``[Q, k]`` float64; inf where there are fewer.
      solved: ``[Q]`` int64, how many problems of transport had to be solved.
    """

    index: np.ndarray
    distance: np.ndarray
    solved: np.ndarray


@partial(jax.jit, static_argnames="kind")
def _centres(x, weight, kind):
    """Masses ``[B, M]`` and the vectors ``[B, D]`` that a first bound compares."""
    if kind == "rotators":
        mass, x = rotators_weights(x, weight), directions(x)
    else:
        total = jnp.sum(weight, axis=-1, keepdims=True)
        mass = weight / jnp.where(total > 0.0, total, 1.0)
    return mass, jnp.einsum("bm,bmd->bd", mass, x)


@partial(jax.jit, static_argnames="kind")
def _bounded(x, p, y, q, kind):
    """Costs ``[B, M, N]`` of a query to texts, and the relaxed bounds ``[B]``."""
    x, p = (jnp.broadcast_to(a[None], (len(y), *a.shape)) for a in (x, p))
    cost = {"movers": euclidean_costs, "rotators": cosine_costs}[kind](x, y)
    return cost, relaxed_bound(cost, p, q)


def _first_bounds(own, others, kind):
    """Bounds ``[C]`` from centres, in float64."""
    square = np.sum(np.square(others - own), axis=1)
    return 0.5 * square if kind == "rotators" else np.sqrt(square)


_lockstep = jax.jit(transport_lockstep)


def _solved(cost, p, q):
    """Least costs ``[B]`` of B problems, at most `GROUP`."""
    wide = [np.asarray(a, np.float64) for a in (cost, np.tile(p, (len(cost), 1)), q)]
    if find_spec("numba") is not None:
        plan, *_, status, _ = transport_simplex(*wide)
    else:
        filled = [
            jnp.asarray(np.pad(a, ((0, GROUP - len(a)), *[(0, 0)] * (a.ndim - 1))))
            for a in wide
        ]
        found = _lockstep(*(a.astype(jnp.float32) for a in filled))
        plan, status = (np.asarray(found[at])[: len(cost)] for at in (0, 3))
    assert not status.any(), status
    return np.einsum("bmn,bmn->b", plan, wide[0])


def nearest_texts(
    queries: np.ndarray,
    query_weights: np.ndarray,
    texts: np.ndarray,
    text_weights: np.ndarray,
    *,
    k: int,
    kind: Literal["movers", "rotators"] = "movers",
    block: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> Neighbours:
    """Finds the nearest texts exactly, by bounds that are cheaper than distances.

    Texts are taken in the order of their first bound, the distance of centres, until
    it exceeds the k-th distance found. In blocks a tighter bound, `relaxed_bound`,
    decides for which of them the transport is solved, the most promising first.

    Args:
      queries: ``[Q, M, D]``, vectors of words, filled up with anything finite.
      query_weights: ``[Q, M]``, not negative, 0 for what fills up.
      texts: ``[C, N, D]``, likewise; an array of any kind that gives rows by number,
        such as a memory map.
      text_weights: ``[C, N]``, likewise.
      k: how many neighbours of each query, at least 1.
      kind: ``"movers"`` for `word_movers_distance`, ``"rotators"`` for
        `word_rotators_distance`.
      block: texts whose costs are held at once.
      progress: called with the queries done and Q after each of them.

    Returns:
      The `Neighbours`. A text without words is nobody's neighbour, and has none.

    Raises:
      ValueError: if the shapes disagree, a vector is not finite, or an argument is out
        of its range.

    Numerics: costs are float32, transport float64 with numba and float32 without.

    Source: Kusner et al., From word embeddings to document distances (2015).
    """
    if kind not in ("movers", "rotators"):
        raise ValueError(f"kind must be movers or rotators, got {kind!r}")
    if k < 1 or block < 1:
        raise ValueError(f"k and block must be at least 1, got {k} and {block}")
    for name, x, weight in (
        ("queries", queries, query_weights),
        ("texts", texts, text_weights),
    ):
        if len(x.shape) != 3 or weight.shape != x.shape[:2]:
            raise ValueError(
                f"{name} and their weights must be [B, M, D] and [B, M], got "
                f"{x.shape} and {weight.shape}"
            )
        if np.min(weight, initial=0.0) < 0.0:
            raise ValueError(f"weights of {name} must not be negative")
    if queries.shape[2] != texts.shape[2]:
        raise ValueError(
            f"vectors must be of one size, got {queries.shape} and {texts.shape}"
        )
    masses, centres = _all_centres("texts", texts, text_weights, kind, block)
    own_masses, own_centres = _all_centres(
        "queries", queries, query_weights, kind, block
    )
    found = Neighbours(
        np.full((len(queries), k), -1),
        np.full((len(queries), k), np.inf),
        np.zeros(len(queries), np.int64),
    )
    some = masses.any(axis=1)
    for at in range(len(queries)):
        if own_masses[at].any():
            bounds = _first_bounds(own_centres[at], centres, kind)
            order = np.argsort(np.where(some, bounds, np.inf), kind="stable")
            order = order[: int(some.sum())]
            index, distance, solved = _search(
                (np.asarray(queries[at], np.float32), own_masses[at]),
                (texts, masses),
                (order, bounds[order]),
                k=k,
                kind=kind,
                block=block,
            )
            found.index[at, : len(index)] = index
            found.distance[at, : len(index)] = distance
            found.solved[at] = solved
        if progress is not None:
            progress(at + 1, len(queries))
    return found


def _all_centres(name, x, weights, kind, block):
    parts = [
        _centres(
            jnp.asarray(x[at : at + block], jnp.float32),
            jnp.asarray(weights[at : at + block], jnp.float32),
            kind,
        )
        for at in range(0, len(x), block)
    ]
    masses, centres = (np.concatenate(part) for part in zip(*parts, strict=True))
    bad = np.flatnonzero(~np.isfinite(centres).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} must be finite, with zeros for padding: row {bad[0]}")
    return masses, centres.astype(np.float64)


def _search(query, texts, ordered, *, k, kind, block):
    """Neighbours of one query among texts in the order of their first bounds."""
    (x, p), (vectors, masses), (order, firsts) = query, texts, ordered
    best = np.full(k, np.inf)
    index = np.full(k, -1)
    solved = 0
    for start in range(0, len(order), block):
        if firsts[start] * (1.0 - SLACK) > best[-1]:
            break
        rows = order[start : start + block]
        filled = np.pad(rows, (0, min(block, len(masses)) - len(rows)), mode="edge")
        y, q = np.asarray(vectors[filled], np.float32), masses[filled]
        cost, relaxed = (np.asarray(a)[: len(rows)] for a in _bounded(x, p, y, q, kind))
        bound = np.maximum(relaxed, firsts[start : start + block])
        likely = np.argsort(bound, kind="stable")
        for first in range(0, len(likely), GROUP):
            group = likely[first : first + GROUP]
            group = group[bound[group] * (1.0 - SLACK) <= best[-1]]
            if not len(group):
                break
            distance = _solved(cost[group], p, q[group])
            solved += len(group)
            both = np.concatenate([best, distance])
            names = np.concatenate([index, rows[group]])
            least = np.argsort(both, kind="stable")[:k]
            best, index = both[least], names[least]
    count = int((index >= 0).sum())
    return index[:count], best[:count], solved
