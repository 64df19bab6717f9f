"""AdaX: Adam whose second moment forgets nothing, the past weighing ever more."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, safe_root

EpsMode = Literal["inside", "outside", "shrinking"]


class ScaleByAdaXState(NamedTuple):
    """Steps taken, the mean gradient and the corrected mean square, like params."""

    count: jax.Array
    mu: optax.Updates
    nu: optax.Updates


def adax_rate(count: jax.Array, b2: float = 1e-4) -> jax.Array:
    r"""Returns :math:`\beta_2 / ((1 + \beta_2)^t - 1)`, the newest square's weight.

    It falls from 1 at t = 1, first as 1/t and after :math:`1/\beta_2` steps
    exponentially: then the second moment stands still.

    Args:
      count: t, from 1, of any shape. b2: positive.

    Numerics: exact to 1e-6 relative in float32 at every t; 0 where the power overflows.
    """
    kind = jnp.result_type(float)
    exponent = jnp.asarray(count, kind) * jnp.log1p(jnp.asarray(b2, kind))
    return jnp.asarray(b2, kind) / jnp.expm1(jnp.minimum(exponent, 88.0))


def scale_by_adax(
    b1: float = 0.9,
    b2: float = 1e-4,
    eps: float = 1e-12,
    *,
    eps_mode: EpsMode = "inside",
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformation:
    r"""Returns :math:`m_t / \sqrt{\hat v_t + \epsilon}`, AdaX's direction.

    .. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
              \hat v_t = \hat v_{t-1} + c_t (g_t^2 - \hat v_{t-1}), \quad
              c_t = \frac{\beta_2}{(1 + \beta_2)^t - 1}

    It is :math:`v_t = (1 + \beta_2) v_{t-1} + \beta_2 g_t^2` divided by
    :math:`(1 + \beta_2)^t - 1`: an old square outweighs a new one, so a late burst of
    gradients takes no shorter steps. There is no correction of the first moment; the
    first steps are small.

    Args:
      b1, b2: decay of the mean, in [0, 1); growth of the memory, positive.
      eps: at least 0.
      eps_mode: where it stands: ``inside`` the root (the post), ``outside``,
        :math:`\sqrt{\hat v} + \epsilon`, or ``shrinking``, outside and divided by
        :math:`\sqrt{(1 + \beta_2)^t - 1}` (the authors' code).
      mu_dtype, nu_dtype: of the two moments; default, each parameter's.

    Raises:
      ValueError: if an argument is out of range, or a leaf is not real and floating.

    Numerics: computed in float32 and kept in the dtype asked for. The second moment is
      kept corrected, as neither v nor the power would fit float32 after 8.9e5 steps. A
      bfloat16 `nu` stops following gradients after some hundred steps.

    Source: https://kexue.fm/archives/7387
    """
    require(b1 >= 0, f"b1 must be in [0, 1), got {b1}")
    require(b1 < 1, f"b1 must be in [0, 1), got {b1}")
    require(b2 > 0, f"b2 must be positive, got {b2}")
    require(eps >= 0, f"eps must be at least 0, got {eps}")
    if eps_mode not in ("inside", "outside", "shrinking"):
        raise ValueError(
            f"eps_mode must be 'inside', 'outside' or 'shrinking', got {eps_mode!r}"
        )

    def init(params):
        require_floating(params, "scale_by_adax")
        mu = optax.tree.zeros_like(params, dtype=mu_dtype)
        nu = optax.tree.zeros_like(params, dtype=nu_dtype)
        return ScaleByAdaXState(jnp.zeros((), jnp.int32), mu, nu)

    def update(updates, state, params=None):
        del params
        require_floating(updates, "scale_by_adax")
        count = jnp.asarray(optax.safe_increment(state.count))
        rate = adax_rate(count, b2)

        def first(g, m):
            return b1 * widened(m) + (1.0 - b1) * widened(g)

        def second(g, v):
            v = widened(v)
            return v + rate.astype(v.dtype) * (jnp.square(widened(g)) - v)

        def direction(g, m, v):
            mean, square = first(g, m), second(g, v)
            if eps_mode == "inside":
                below = safe_root(square + eps)
            elif eps_mode == "outside":
                below = safe_root(square) + eps
            else:
                below = safe_root(square) + eps * jnp.sqrt(rate / b2)
            rest = below == 0  # nothing has been seen, and eps is 0
            step = jnp.where(rest, 0.0, mean / jnp.where(rest, 1.0, below))
            return step.astype(g.dtype)

        def keep(rule):
            return lambda g, old: rule(g, old).astype(old.dtype)

        mu = jax.tree.map(keep(first), updates, state.mu)
        nu = jax.tree.map(keep(second), updates, state.nu)
        steps = jax.tree.map(direction, updates, state.mu, state.nu)
        return steps, ScaleByAdaXState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def adax(
    learning_rate: optax.ScalarOrSchedule = 1.5e-3,
    b1: float = 0.9,
    b2: float = 1e-4,
    eps: float = 1e-12,
    weight_decay: float = 0.0,
    mask: Any | None = None,
    *,
    eps_mode: EpsMode = "inside",
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaX, the decay being an L2 penalty: part of the gradient.

    Args:
      learning_rate: a number or a schedule.
      weight_decay: :math:`\lambda` in :math:`g + \lambda\theta`; the authors took 5e-4.
      mask: the leaves that decay, as in ``optax.add_decayed_weights``.
      b1, b2, eps, eps_mode, mu_dtype, nu_dtype: as in `scale_by_adax`.

    Source: https://kexue.fm/archives/7387
    """
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        scale_by_adax(
            b1, b2, eps, eps_mode=eps_mode, mu_dtype=mu_dtype, nu_dtype=nu_dtype
        ),
        optax.scale_by_learning_rate(learning_rate),
    )


def adaxw(
    learning_rate: optax.ScalarOrSchedule = 5e-3,
    b1: float = 0.9,
    b2: float = 1e-4,
    eps: float = 1e-12,
    weight_decay: float = 5e-2,
    mask: Any | None = None,
    *,
    eps_mode: EpsMode = "inside",
    mu_dtype: Any | None = None,
    nu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""AdaX-W: the decay is its own step, :math:`\theta \to (1 - \alpha\lambda)\theta`.

    Args:
      learning_rate: :math:`\alpha`, a number or a schedule.
      weight_decay: :math:`\lambda`.
      mask: the leaves that decay, as in ``optax.add_decayed_weights``.
      b1, b2, eps, eps_mode, mu_dtype, nu_dtype: as in `scale_by_adax`.

    Source: https://arxiv.org/abs/2004.09740; https://kexue.fm/archives/7387
    """
    return optax.chain(
        scale_by_adax(
            b1, b2, eps, eps_mode=eps_mode, mu_dtype=mu_dtype, nu_dtype=nu_dtype
        ),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
