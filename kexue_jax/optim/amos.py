"""Rates and decays that fade together, sized by how far the weights have to go."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.roles import ROLES, by_role
from kexue_jax.numerics import widened
from kexue_jax.optim.checks import (
    require,
    require_floating,
    require_params,
    safe_root,
)

SIZES = MappingProxyType(dict(matrix=0.02, embedding=0.02, bias=0.5, gain=0.5))
"""How far weights of a role have to go: the deviation they are drawn with, or 0.5."""


class AmosState(NamedTuple):
    """Updates made."""

    count: jax.Array


def scale_by_amos_rates(
    rate: float = 1e-3,
    half_life: float | None = None,
    *,
    fade: str = "inverse_time",
    share: float = 1.0,
    sizes: Mapping[str, float] = SIZES,
    labels: Callable[[Any], Any] | Any = by_role,
) -> optax.GradientTransformation:
    r"""Makes of a direction u the step :math:`-(\alpha_t u + \rho_t \theta)`.

    .. math:: \alpha_t = \frac{\alpha_0\,\sigma\sqrt k}{\|u\|}\, d_t,\quad
              \rho_t = \frac{\alpha_0^2}{2 q}\, d_t

    for a leaf of k entries: at first it moves by the share :math:`\alpha_0` of the way
    :math:`\sigma\sqrt k` that it has to go, and it decays at a pace of its own, of
    second order, which :math:`\alpha_t` does not multiply. Put it last, after
    ``optax.scale_by_adam()`` say, in place of a learning rate.

    Args:
      rate: :math:`\alpha_0`, about 1e-3.
      half_life: T, the steps after which :math:`d_T = 1/2`; None keeps :math:`d_t` 1.
      fade: ``"inverse_time"``, :math:`d_t = 1/(t/T + 1)`, where progress slows down
        with the distance that is left; or ``"inverse_square"``,
        :math:`1/((\sqrt2 - 1)t/T + 1)^2`, where it does not.
      share: q, positive; the larger, the weaker the decay.
      sizes: :math:`\sigma` of each role: for matrices the deviation they are drawn
        with.
      labels: role of each leaf, a tree or what makes it of params.

    Raises:
      ValueError: if an argument is out of range, a role is unknown or has no size, a
        leaf is not real and floating, or `update` gets no params.

    Numerics: norms in float32. A direction of zeros leaves the decay alone.

    Source: https://kexue.fm/archives/9344; Tian and Parikh, arXiv 2210.11693.
    """
    require(rate > 0, f"rate must be positive, got {rate}")
    require(share > 0, f"share must be positive, got {share}")
    if half_life is not None:
        require(half_life > 0, f"half_life must be positive, got {half_life}")
    require(
        fade in ("inverse_time", "inverse_square"),
        f"fade must be inverse_time or inverse_square, got {fade!r}",
    )
    for role in ROLES:
        if role not in sizes or not sizes[role] > 0:
            raise ValueError(f"sizes must have a positive {role}, got {dict(sizes)}")

    def faded(count):
        if half_life is None:
            return 1.0
        if fade == "inverse_time":
            return 1.0 / (count / half_life + 1.0)
        return 1.0 / jnp.square((2.0**0.5 - 1.0) * count / half_life + 1.0)

    def init(params):
        require_floating(params, "scale_by_amos_rates")
        return AmosState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        require_params(params, "scale_by_amos_rates")
        require_floating(updates, "scale_by_amos_rates")
        roles = labels(params) if callable(labels) else labels
        for role in jax.tree.leaves(roles):
            require(role in ROLES, f"labels must be among {ROLES}, got {role!r}")
        now = faded(jnp.asarray(state.count, jnp.result_type(float)))

        def step(role, u, p):
            u, theta = widened(u), widened(p)
            size = safe_root(jnp.mean(jnp.square(u))) if u.size else jnp.ones(())
            unit = u / jnp.where(size > 0, size, 1.0)
            decay = 0.5 * rate**2 / share
            return -now * (rate * sizes[role] * unit + decay * theta)

        steps = jax.tree.map(step, roles, updates, params)
        steps = jax.tree.map(lambda s, u: s.astype(u.dtype), steps, updates)
        return steps, AmosState(jnp.asarray(optax.safe_increment(state.count)))

    return optax.GradientTransformation(init, update)
