"""Transforms that ask for values of the loss, not for its gradient."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.zeroth_order import zeroth_order_gradient
from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, require_params


class CountState(NamedTuple):
    """Steps taken: with the seed, what is drawn next."""

    count: jax.Array


def _begin(params: Any, name: str) -> CountState:
    require_floating(params, name)
    return CountState(jnp.zeros((), jnp.int32))


def _next(state: CountState) -> CountState:
    return CountState(jnp.asarray(optax.safe_increment(state.count)))


def _require_value_fn(value_fn: Callable | None, name: str) -> Callable:
    if value_fn is None:
        raise ValueError(
            f"{name} needs values of the loss: call update(updates, state, params, "
            "value_fn=function of params)"
        )
    return value_fn


def spsa(
    a: float = 0.1,
    c: float = 0.1,
    A: float = 0.0,
    alpha: float = 0.602,
    gamma: float = 0.101,
    *,
    directions: int = 1,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Simultaneous perturbation: a whole step from two values of the loss.

    .. math:: -a_k \frac{L(\theta + c_k \Delta) - L(\theta - c_k \Delta)}{2 c_k}
              \Delta^{-1}, \quad a_k = \frac{a}{(A + k)^\alpha}, \quad
              c_k = \frac{c}{k^\gamma}

    :math:`\Delta` holds random signs, which are their own inverses; k counts from 1.
    The gradients that come in are not read, and no other transform is needed after it.

    Args:
      a, A, alpha: the gain of the step; `A`, not negative, is about a tenth of the
        steps to be made.
      c, gamma: the deviation; `c` is positive, about that of the loss's own noise.
      directions: how many pairs of values are averaged.
      seed: of the signs.

    Raises:
      ValueError: if a number is out of range, a leaf is not real and floating, or
        `update` is called without params or without the extra argument `value_fn`,
        which takes the whole tree: inside of `optax.masked` it does not fit.

    Numerics: parameters are moved in float32 at least; updates have the dtype of the
      gradients.

    Source: https://kexue.fm/archives/7737 has the estimator; Spall, 1992 and 1998, the
      signs and the gains.
    """
    name = "spsa"
    require(a > 0, f"a must be positive, got {a}")
    require(c > 0, f"c must be positive, got {c}")
    require(A >= 0, f"A must not be negative, got {A}")
    require(alpha >= 0, f"alpha must not be negative, got {alpha}")
    require(gamma >= 0, f"gamma must not be negative, got {gamma}")
    require(directions >= 1, f"directions must be at least 1, got {directions}")

    def update(updates, state, params=None, *, value_fn=None, **extra_args):
        del extra_args
        require_params(params, name)
        require_floating(updates, name)
        k = state.count.astype(jnp.float32) + 1.0
        slope = zeroth_order_gradient(
            _require_value_fn(value_fn, name),
            jax.tree.map(widened, params),
            jax.random.fold_in(jax.random.key(seed), state.count),
            deviation=c / k**gamma,
            directions=directions,
            distribution="rademacher",
        )
        gain = a / (A + k) ** alpha
        steps = jax.tree.map(lambda g, s: (-gain * s).astype(g.dtype), updates, slope)
        return steps, _next(state)

    return optax.GradientTransformationExtraArgs(
        functools.partial(_begin, name=name), update
    )


def mle_guided_step(
    candidates: int = 4,
    *,
    deviation: float = 0.01,
    mixture: float = 0.5,
    temperature: float = 1.0,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""A mean of steps drawn around 0 and around the one given, by how good they are.

    .. math:: \sum_i w_i \Delta_i, \quad w_i \propto
              \frac{e^{-(L(\theta + \Delta_i) - L(\theta)) / \alpha}}{q(\Delta_i)},
              \quad \Delta_i \sim q = \lambda N(0, s^2) + (1 - \lambda) N(u, s^2)

    u is the step that comes in, of a loss that has a gradient, and L what `value_fn`
    gives, which need not have one. Put it last, after the learning rate. With many
    candidates the step is the mean of :math:`e^{-(L(\theta + \Delta) - L(\theta))
    / \alpha}`, whatever u is: of a quadratic that is Newton's.

    Args:
      candidates: how many steps are drawn, each one value of the loss.
      deviation: s, positive. Densities are those of all parameters together: with
        many, the candidate farthest out weighs most unless s is small.
      mixture: :math:`\lambda`, in (0, 1], the share that is drawn around 0.
      temperature: :math:`\alpha`, positive.
      seed: of what is drawn.

    Raises:
      ValueError: as `spsa`.

    Numerics: weights from logarithms, in float32, in one pass that keeps one candidate
      at a time. Those whose loss is not finite weigh nothing; if none is finite there
      is no step.

    Source: https://kexue.fm/archives/7521; Welleck and Cho, arXiv 2006.03158.
    """
    name = "mle_guided_step"
    require(candidates >= 1, f"candidates must be at least 1, got {candidates}")
    require(deviation > 0, f"deviation must be positive, got {deviation}")
    for ok in (mixture > 0, mixture <= 1):
        require(ok, f"mixture must be in (0, 1], got {mixture}")
    require(temperature > 0, f"temperature must be positive, got {temperature}")

    def update(updates, state, params=None, *, value_fn=None, **extra_args):
        del extra_args
        require_params(params, name)
        require_floating(updates, name)
        value_of = _require_value_fn(value_fn, name)
        step, place = (jax.tree.map(widened, tree) for tree in (updates, params))
        root = jax.random.fold_in(jax.random.key(seed), state.count)

        def drawn(index):
            key = jax.random.fold_in(root, index)
            guided = jax.random.uniform(jax.random.fold_in(key, 0)) >= mixture
            leaves, structure = jax.tree.flatten(step)
            noise = [
                jnp.where(guided, u, jnp.zeros_like(u))
                + jnp.asarray(deviation, u.dtype)
                * jax.random.normal(jax.random.fold_in(key, 1 + i), u.shape, u.dtype)
                for i, u in enumerate(leaves)
            ]
            return jax.tree.unflatten(structure, noise)

        def log_weight(change):
            value = value_of(jax.tree.map(jnp.add, place, change))
            free = _total(jax.tree.map(jnp.square, change))
            guided = _total(jax.tree.map(lambda d, u: jnp.square(d - u), change, step))
            scale, share = -0.5 / deviation**2, jnp.asarray(mixture, jnp.float32)
            density = scale * free + jnp.logaddexp(
                jnp.log(share), jnp.log1p(-share) + scale * (guided - free)
            )
            found = -widened(jnp.asarray(value)) / temperature - density
            return jnp.where(jnp.isfinite(found), found, -jnp.inf)

        def add(carry, index):  # a softmax-weighted mean, in one pass
            mean, total, most = carry
            change = drawn(index)
            log = log_weight(change)
            top = jnp.maximum(most, log)
            safe = jnp.where(top > -jnp.inf, top, 0.0)
            old, new = total * jnp.exp(most - safe), jnp.exp(log - safe)
            total = old + new
            share = new / jnp.where(total > 0.0, total, 1.0)
            mean = jax.tree.map(
                lambda m, d: m + share.astype(m.dtype) * (d - m), mean, change
            )
            return (mean, total, top), None

        none = jax.tree.map(jnp.zeros_like, step)
        start = none, jnp.zeros(()), jnp.full((), -jnp.inf)
        (mean, _, _), _ = jax.lax.scan(add, start, jnp.arange(candidates))
        steps = jax.tree.map(lambda g, s: s.astype(g.dtype), updates, mean)
        return steps, _next(state)

    return optax.GradientTransformationExtraArgs(
        functools.partial(_begin, name=name), update
    )


def _total(tree: Any) -> jax.Array:
    sums = [jnp.sum(leaf) for leaf in jax.tree.leaves(tree)]
    return sum(sums, start=jnp.zeros((), jnp.float32))
