"""A power of a distribution that has a prescribed entropy."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kexue_jax import numerics


class EntropyNormalized(NamedTuple):
    """A distribution in each row, and how it was reached."""

    weights: jax.Array
    power: jax.Array
    converged: jax.Array


def _softmax(logits, kept):
    """Softmax and logarithms of it over the last axis; both are 0 where hidden."""
    safe = jnp.where(kept, logits, 0.0)
    top = jnp.max(jnp.where(kept, safe, -jnp.inf), -1, keepdims=True, initial=-jnp.inf)
    safe = jnp.where(kept, safe - jnp.where(top > -jnp.inf, top, 0.0), 0.0)
    power = jnp.where(kept, jnp.exp(safe), 0.0)
    total = jnp.sum(power, axis=-1, keepdims=True)
    total = jnp.where(total == 0.0, 1.0, total)
    return power / total, jnp.where(kept, safe - jnp.log(total), 0.0)


def _kept(logits, where):
    kept = logits > -jnp.inf
    if where is None:
        return kept
    if where.dtype != jnp.bool_ or where.ndim != logits.ndim:
        raise ValueError(
            f"where must be bool of the rank of logits {logits.shape}, got "
            f"{where.dtype} {where.shape}"
        )
    return kept & where


def softmax_entropy(logits: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
    r"""Entropy of the softmax of `logits` over the last axis.

    .. math:: H = -\sum_i p_i \log p_i, \quad p = \mathrm{softmax}(l)

    Args:
      logits: ``[..., S]``; -inf hides an entry.
      where: bool, of the rank of `logits` and broadcastable to it; True keeps an entry.

    Returns:
      ``[...]`` in nats, from 0 to the logarithm of the number of entries; 0 if nothing
      is kept.

    Raises:
      ValueError: if `where` does not fit.

    Numerics: float32, or wider if `logits` are. Gradients are finite where weights
      underflow.
    """
    weights, logs = _softmax(numerics.widened(logits), _kept(logits, where))
    return -jnp.sum(weights * logs, axis=-1)


def _moments(logits, kept, power):
    """Entropy of softmax(power logits), and the variance of `logits` under it."""
    weights, logs = _softmax(power[..., None] * logits, kept)
    mean = jnp.sum(weights * logits, axis=-1, keepdims=True)
    variance = jnp.sum(weights * jnp.square(logits - mean), axis=-1)
    return -jnp.sum(weights * logs, axis=-1), variance


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def _power(logits, kept, target, steps):
    """Returns gamma with entropy `target`, by Newton on log gamma inside a bracket.

    `logits` are finite, with the top of every row at 0. Where the target is out of
    reach the result has no meaning.
    """
    count = jnp.maximum(jnp.sum(kept, axis=-1, dtype=logits.dtype), 1.0)
    _, spread = _moments(logits, kept, jnp.zeros_like(target))
    spread = jnp.where(spread > 0.0, spread, 1.0)
    # Near a uniform distribution H = log n - gamma^2 Var / 2.
    lost = jnp.maximum(jnp.log(count) - target, 1e-3)
    start = 0.5 * (jnp.log(2.0 * lost) - jnp.log(spread))

    def step(_, state):
        at, low, high = state
        power = jnp.exp(at)
        entropy, variance = _moments(logits, kept, power)
        excess = entropy - target
        low, high = jnp.where(excess > 0.0, at, low), jnp.where(excess > 0.0, high, at)
        slope = jnp.square(power) * variance
        steep = slope > jnp.finfo(slope.dtype).tiny
        ahead = at + excess / jnp.where(steep, slope, 1.0)
        inside = steep & (ahead > low) & (ahead < high)
        ahead = jnp.where(inside, ahead, 0.5 * (low + high))
        return jnp.where(excess == 0.0, at, ahead), low, high

    state = (start, start - 24.0, start + 24.0)
    return jnp.exp(jax.lax.fori_loop(0, steps, step, state)[0])


@_power.defjvp
def _power_jvp(steps, primals, tangents):
    logits, kept, target = primals
    logits_change, _, target_change = tangents
    power = _power(logits, kept, target, steps)
    weights, logs = _softmax(power[..., None] * logits, kept)
    entropy, variance = _moments(logits, kept, power)
    # dH = -gamma sum p (log p + H) dl - gamma Var dgamma: gamma moves so that H stays.
    lean = weights * (logs + entropy[..., None])
    shift = power * jnp.sum(lean * logits_change, axis=-1)
    slope = power * variance
    steep = slope > jnp.finfo(slope.dtype).tiny
    change = -(target_change + shift) / jnp.where(steep, slope, 1.0)
    return power, jnp.where(steep, change, 0.0)


def entropy_normalized(
    logits: jax.Array,
    target: float | jax.Array,
    *,
    where: jax.Array | None = None,
    steps: int = 40,
    tolerance: float = 1e-5,
) -> EntropyNormalized:
    r"""The power of a distribution whose entropy is `target`.

    .. math:: p^{(\gamma)}_i = \frac{p_i^\gamma}{\sum_j p_j^\gamma}
              = \mathrm{softmax}(\gamma l)_i, \quad H(p^{(\gamma)}) = H^*, \;\gamma > 0

    The order of the entries never changes. The entropy falls with :math:`\gamma`, from
    the logarithm of the number of entries at 0 to that of the number of largest ones,
    so there is at most one such power; it is the inverse of a temperature.

    Args:
      logits: ``[..., S]``, logarithms of weights that need not sum to 1; -inf is a
        weight of 0, and stays one.
      target: :math:`H^*` in nats, broadcastable to ``[...]``.
      where: bool, of the rank of `logits` and broadcastable to it; True keeps an entry.
      steps: of the iteration, >= 1. Newton's on :math:`\log \gamma`, kept in a bracket
        that halves when it leaves it; about ten are enough, hard cases take twenty.
      tolerance: > 0, in nats.

    Returns:
      `weights` ``[..., S]``, which sum to 1, or to 0 in a row of which nothing is kept;
      `power` ``[...]``, the :math:`\gamma`; `converged` ``[...]`` bool, whether the
      entropy of `weights` is within `tolerance` of the target. A target out of reach
      gives the limit: with power 0 all kept entries alike, with power inf the largest
      ones alike. A row of equal entries stays as it is, with power 1.

    Raises:
      ValueError: if the shapes disagree, or a number is out of range.

    Numerics: float32, or wider if `logits` are. Gradients with respect to logits and
      target come from the equation, not from the iteration; those of rows whose target
      is out of reach are 0.

    Source: https://kexue.fm/archives/8829, with a bracketed Newton method on
      :math:`\log \gamma`. The iteration there starts anew from its result; when that is
      far more peaked than the target it can reverse the order of the entries.

    >>> result = entropy_normalized(jnp.array([0.0, 1.0, 5.0]), 1.0)
    >>> softmax_entropy(result.power * jnp.array([0.0, 1.0, 5.0])).round(3).tolist()
    1.0
    """
    if logits.ndim < 1 or steps < 1 or tolerance <= 0.0:
        raise ValueError(
            "logits must have an axis, steps and tolerance be positive; got "
            f"{logits.shape}, {steps}, {tolerance}"
        )
    kept = _kept(logits, where)
    logits = numerics.widened(logits)
    target = jnp.asarray(target, logits.dtype)
    if target.ndim > logits.ndim - 1 or any(
        n not in (1, m)
        for n, m in zip(target.shape[::-1], logits.shape[-2::-1], strict=False)
    ):
        raise ValueError(
            f"target must broadcast to {logits.shape[:-1]}, got {target.shape}"
        )
    target = jnp.broadcast_to(target, logits.shape[:-1])
    safe = jnp.where(kept, logits, 0.0)
    top = jnp.max(jnp.where(kept, safe, -jnp.inf), -1, keepdims=True, initial=-jnp.inf)
    safe = jnp.where(kept, safe - jnp.where(top > -jnp.inf, top, 0.0), 0.0)
    first = kept & (safe == 0.0)
    most, least = (jnp.log(jnp.maximum(jnp.sum(x, -1), 1)) for x in (kept, first))
    least, most = least.astype(logits.dtype), most.astype(logits.dtype)
    inside, alike = (target > least) & (target < most), least == most
    flat = jnp.where(inside[..., None], safe, 0.0)
    middle = jnp.where(inside, target, 0.5 * (least + most))
    power = jnp.where(inside, _power(flat, kept, middle, steps), 1.0)
    support = jnp.where((target >= most)[..., None], kept, first | inside[..., None])
    weights, logs = _softmax(power[..., None] * flat, support & kept)
    entropy = -jnp.sum(weights * logs, axis=-1)
    limit = jnp.where(alike, 1.0, jnp.where(target >= most, 0.0, jnp.inf))
    return EntropyNormalized(
        weights=weights,
        power=jnp.where(inside, power, limit.astype(logits.dtype)),
        converged=(jnp.abs(entropy - target) <= tolerance) & jnp.any(kept, axis=-1),
    )
