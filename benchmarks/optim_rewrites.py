"""Optimizers once more, leaf by leaf in float64 NumPy: what errors are measured from.

A rule is ``rule(g, p, state, t, role) -> p``; it keeps what it likes in `state`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

RATE, DECAY = 1e-3, 0.01  # of all optimizers that are compared
GAMMA, PERIOD, EVERY = 1.0, 5, 4  # of the clip, of lookahead, of accumulation
Rule = Callable[..., np.ndarray]


def _moment(state: dict[str, Any], name: str, new: np.ndarray, weight: float) -> Any:
    old = state.get(name, np.zeros_like(new))
    state[name] = old + weight * (new - old)
    return state[name]


def _size(x: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.sqrt(np.mean(x**2, axis=axis, keepdims=axis is not None))


def _adam(g, state, t, eps=1e-8):
    m = _moment(state, "m", g, 0.1) / (1 - 0.9**t)
    v = _moment(state, "v", g**2, 1e-3) / (1 - 0.999**t)
    return m / (np.sqrt(v) + eps)


def adamw(g, p, state, t, role):
    """Adam with decoupled decay."""
    return p - RATE * (_adam(g, state, t) + DECAY * p)


def adax(g, p, state, t, role):
    """AdaX without decay."""
    weight = 1e-4 / np.expm1(t * np.log1p(1e-4))
    m, v = _moment(state, "m", g, 0.1), _moment(state, "v", g**2, weight)
    return p - RATE * m / np.sqrt(v + 1e-12)


def adaxw(g, p, state, t, role):
    """AdaX with decoupled decay."""
    return adax(g, p, state, t, role) - RATE * DECAY * p


def lamb(g, p, state, t, role):
    """LAMB, without decay and ratio for biases and gains."""
    step = _adam(g, state, t, 1e-6)
    if role in ("bias", "gain"):
        return p - RATE * step
    step = step + DECAY * p
    return p - RATE * step * np.linalg.norm(p) / np.linalg.norm(step)


def lookahead(g, p, state, t, role):
    """Lookahead around AdamW."""
    slow = state.setdefault("slow", p)
    p = adamw(g, p, state, t, role)
    if t % PERIOD:
        return p
    state["slow"] = slow + 0.5 * (p - slow)
    return state["slow"]


def lazy_rows(g, p, state, t, role):
    """AdamW of the rows that have a gradient."""
    if g.ndim < 2:
        return adamw(g, p, state, t, role)
    old, seen = dict(state), (g != 0).any(axis=tuple(range(1, g.ndim)), keepdims=True)
    new = adamw(g, p, state, t, role)
    for name in ("m", "v"):
        state[name] = np.where(seen, state[name], old.get(name, 0.0))
    return np.where(seen, new, p)


def lazy_tables(g, p, state, t, role):
    """The same for embeddings only."""
    rule = lazy_rows if role == "embedding" else adamw
    return rule(g, p, state, t, role)


def average_weights(g, p, state, t, role):
    """AdamW; an average beside changes no step."""
    return adamw(g, p, state, t, role)


def accumulate_in_momentum(g, p, state, t, role):
    """The momentum of means of several gradients."""
    state["sum"] = state.get("sum", 0.0) + g
    if t % EVERY:
        return p
    m = _moment(state, "m", state.pop("sum") / EVERY, 0.1)
    return p - RATE * m


def lion(g, p, state, t, role):
    """Lion."""
    m = state.get("m", np.zeros_like(g))
    direction = np.sign(0.9 * m + 0.1 * g)
    _moment(state, "m", g, 0.01)
    return p - RATE * (direction + DECAY * p)


def sign_momentum(g, p, state, t, role):
    """Lion with one decay."""
    return p - RATE * (np.sign(_moment(state, "m", g, 1 - 0.965)) + DECAY * p)


def tiger(g, p, state, t, role):
    """Tiger, by the role of the leaf."""
    direction = np.sign(_moment(state, "m", g, 1 - 0.965))
    if role in ("bias", "gain"):
        return p - 0.5 * RATE * direction
    size = np.maximum(_size(p, -1 if role == "embedding" else None), 1e-3)
    return p - RATE * size * (direction + DECAY * p)


def adafactor(g, p, state, t, role):
    """AdaFactor, factored where both lengths are 128."""
    weight = t**-0.8
    if g.ndim < 2 or min(g.shape) < 128:
        u = g / np.sqrt(_moment(state, "v", g**2 + 1e-30, weight))
    else:
        rows = _moment(state, "r", (g**2 + 1e-30).mean(1), weight)
        columns = _moment(state, "s", (g**2 + 1e-30).mean(0), weight)
        u = g / np.sqrt(np.outer(rows / rows.mean(), columns))
    return p - RATE * u / max(1.0, _size(u)) * max(1e-3, _size(p))


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        adamw,
        adaxw,
        adax,
        lamb,
        lookahead,
        lazy_rows,
        lazy_tables,
        average_weights,
        accumulate_in_momentum,
        lion,
        sign_momentum,
        tiger,
        adafactor,
    )
} | {"clipped": adamw}


def run(
    way: str, grads: list[list[np.ndarray]], start: list[np.ndarray], roles: list[str]
) -> list[np.ndarray]:
    """Returns the leaves after all gradients, ``[steps][leaves]``, in float64."""
    rule = RULES[way]
    params = [p.astype(np.float64) for p in start]
    states: list[dict[str, Any]] = [{} for _ in start]
    for t, step in enumerate(grads, 1):
        leaves = [g.astype(np.float64) for g in step]
        if way == "clipped":
            norm = np.sqrt(sum((g**2).sum() for g in leaves))
            leaves = [g * GAMMA / (norm + GAMMA) for g in leaves]
        rows = zip(leaves, params, states, roles, strict=True)
        params = [rule(g, p, s, t, role) for g, p, s, role in rows]
    return params
