"""Tiger: the sign of one momentum, scaled by the size of each parameter."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.roles import ROLES, by_role
from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, require_params


def _sign(x: jax.Array) -> jax.Array:
    """-1, 0 or 1; a nan stays one."""
    return jnp.where(x > 0, 1.0, jnp.where(x < 0, -1.0, x))


def _check_beta(beta: float) -> None:
    require(beta >= 0, f"beta must be in [0, 1), got {beta}")
    require(beta < 1, f"beta must be in [0, 1), got {beta}")


class SignMomentumState(NamedTuple):
    """One moving average, shaped like params."""

    momentum: optax.Updates


def scale_by_sign_momentum(
    beta: float = 0.965, *, mu_dtype: Any | None = None
) -> optax.GradientTransformation:
    r"""Returns the sign of :math:`m_t = \beta m_{t-1} + (1 - \beta) g_t`.

    It is Lion with both decays the same.

    Args:
      beta: in [0, 1); 0.965 for language, 0.945 for vision.
      mu_dtype: of the momentum; default, each parameter's.

    Raises:
      ValueError: if `beta` is out of range, or a leaf is not real and floating.

    Numerics: averaged in float32. The sign of 0 is 0, that of nan is nan.

    Source: https://kexue.fm/archives/9512
    """
    _check_beta(beta)

    def init(params):
        require_floating(params, "scale_by_sign_momentum")
        return SignMomentumState(optax.tree.zeros_like(params, dtype=mu_dtype))

    def update(updates, state, params=None):
        del params
        require_floating(updates, "scale_by_sign_momentum")

        def mean(g, m):
            return beta * widened(m) + (1.0 - beta) * widened(g)

        signs = jax.tree.map(
            lambda g, m: _sign(mean(g, m)).astype(g.dtype), updates, state.momentum
        )
        momentum = jax.tree.map(
            lambda g, m: mean(g, m).astype(m.dtype), updates, state.momentum
        )
        return signs, SignMomentumState(momentum)

    return optax.GradientTransformation(init, update)


class TigerState(NamedTuple):
    """Gradients seen, and one moving average of them, shaped like params."""

    count: jax.Array
    momentum: optax.Updates


def tiger(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    beta: float = 0.965,
    weight_decay: float = 0.01,
    *,
    labels: Callable[[Any], Any] | Any = by_role,
    every: int = 1,
    min_rms: float = 1e-3,
    shrink: float | None = 0.99,
    mu_dtype: Any | None = None,
) -> optax.GradientTransformation:
    r"""Steps by :math:`-\alpha(\mathrm{sign}(m) + \lambda\theta)`, m being a momentum.

    What :math:`\alpha` is depends on the leaf: for a matrix, the rate times its root
    mean square; for an embedding, times that of each row; for biases and gains half
    the rate, without decay. So every leaf changes by the same share of itself.

    Args:
      learning_rate: a number or a schedule of the updates made; 1e-3 to 2e-3 at most.
      beta: of m, in [0, 1); 0.965 for language, 0.945 for vision.
      weight_decay: :math:`\lambda`.
      labels: for each leaf of params ``bias``, ``gain``, ``embedding`` or ``matrix``:
        a tree of them, or what makes it of params.
      every: gradients per update, gathered in m itself at no cost; in between,
        updates are zero.
      min_rms: the least root mean square that is multiplied with, so that weights which
        begin at zero can leave it.
      shrink: where a leaf's gradient has an infinity or a nan, m stays and the leaf is
        drawn to 0 (a gain to 1) by this factor. None lets the nan pass.
      mu_dtype: of the momentum; default, each parameter's.

    Raises:
      ValueError: if an argument is out of range, a label is unknown, a leaf is not real
        and floating, or `update` gets no params.

    Numerics: computed in float32. Rows of an embedding that get no gradients drift to
      :math:`\pm 1/\lambda`, as a sign never fades: see `lazy_rows`.

    Source: https://kexue.fm/archives/9512. `min_rms` is added; infinities are treated
      as nans are there.
    """
    _check_beta(beta)
    require(every >= 1, f"every must be at least 1, got {every}")
    require(min_rms >= 0, f"min_rms must be at least 0, got {min_rms}")

    def init(params):
        require_floating(params, "tiger")
        momentum = optax.tree.zeros_like(params, dtype=mu_dtype)
        return TigerState(jnp.zeros((), jnp.int32), momentum)

    def update(updates, state, params=None):
        require_params(params, "tiger")
        require_floating(updates, "tiger")
        count, rate = state.count, learning_rate
        rate: Any = rate(count // every) if callable(rate) else rate
        keep, now = beta, True
        if every > 1:
            keep = jnp.where(count % every == 0, beta, 1.0)
            now = (count + 1) % every == 0

        def mean(g, m, fault):
            m = widened(m)
            new = keep * m + (1.0 - beta) / every * widened(g)
            return new if shrink is None else jnp.where(fault, m, new)

        def step(g, m, fault, p, role):
            direction, theta = _sign(mean(g, m, fault)), widened(p)
            if role in ("bias", "gain"):
                move = -0.5 * rate * direction
            else:
                axis = -1 if role == "embedding" and p.ndim else None
                square = jnp.mean(jnp.square(theta), axis=axis, keepdims=True)
                least = jnp.square(min_rms)
                size = jnp.sqrt(jnp.maximum(square, least))
                # without a choice XLA makes, on a CPU, an array of it like the leaf
                size = jnp.where(square < least, min_rms, size)
                move = -rate * size * (direction + weight_decay * theta)
            if every > 1:
                move = jnp.where(now, move, 0.0)
            if shrink is not None:
                centre = 1.0 if role == "gain" else 0.0
                move = jnp.where(fault, (shrink - 1.0) * (theta - centre), move)
            return move.astype(g.dtype)

        def fault(g):  # a sum is one fast pass on a CPU, isfinite is two slow ones
            return False if shrink is None else ~jnp.isfinite(jnp.sum(widened(g)))

        faults = jax.tree.map(fault, updates)
        roles = labels(params) if callable(labels) else labels
        for role in jax.tree.leaves(roles):
            require(role in ROLES, f"labels must be among {ROLES}, got {role!r}")
        args = (updates, state.momentum, faults, params, roles)
        steps = jax.tree.map(step, *args)
        momentum = jax.tree.map(
            lambda g, m, fault: mean(g, m, fault).astype(m.dtype), *args[:3]
        )
        return steps, TigerState(jnp.asarray(optax.safe_increment(count)), momentum)

    return optax.GradientTransformation(init, update)
