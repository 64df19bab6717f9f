"""Rates and trust ratios that differ from layer to layer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.roles import is_weight
from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require_floating, safe_root


def scale_by_name(
    rules: Sequence[tuple[str, float]] = (), otherwise: float = 1.0
) -> optax.GradientTransformation:
    """Multiplies each leaf by the factor of the first rule whose text is in its path.

    Put it last in a chain: it then scales learning rates, whatever the optimizer. The
    transitions of a CRF take a hundred times the rate of the encoder below.

    Args:
      rules: pairs of a text and a factor; paths read as in ``stack/blocks/0/kernel``.
      otherwise: the factor where no rule applies.

    Raises:
      ValueError: if a leaf is not real and floating.

    Source: https://kexue.fm/archives/6418, https://kexue.fm/archives/7196
    """

    def init(params):
        require_floating(params, "scale_by_name")
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        require_floating(updates, "scale_by_name")

        def scale(path, u):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            factor = next((x for text, x in rules if text in name), otherwise)
            return (widened(u) * factor).astype(u.dtype)

        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(init, update)


def _trust_ratio() -> optax.GradientTransformation:
    """As ``optax.scale_by_trust_ratio``, which makes two arrays more of each update."""

    def update(updates, state, params=None):
        def scale(u, p):
            u = jax.lax.optimization_barrier(u)  # made once, read twice
            wide = widened(u)
            sizes = [safe_root(jnp.sum(jnp.square(x))) for x in (widened(p), wide)]
            still = (sizes[0] == 0) | (sizes[1] == 0)
            ratio = jnp.where(still, 1.0, sizes[0] / jnp.where(still, 1.0, sizes[1]))
            return (wide * ratio).astype(u.dtype)

        return jax.tree.map(scale, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def lamb(
    learning_rate: optax.ScalarOrSchedule = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: float = 0.01,
    *,
    mask: Callable[[Any], Any] | Any = is_weight,
    mu_dtype: Any | None = None,
) -> optax.GradientTransformationExtraArgs:
    r"""LAMB: Adam's direction with decay, rescaled to the norm of each leaf.

    .. math:: h = \mathrm{Adam} + \lambda\theta, \qquad
              \theta \to \theta - \alpha h \|\theta\| / \|h\|

    Unlike ``optax.lamb`` it leaves biases and gains without decay and without the
    ratio, as is usual; the ratio is 1 where a norm is 0.

    Args:
      learning_rate: :math:`\alpha`, a number or a schedule.
      b1, b2, eps, mu_dtype: as in ``optax.scale_by_adam``.
      weight_decay: :math:`\lambda`.
      mask: True for leaves with decay and ratio: a tree, or what makes it of params.

    Raises:
      ValueError: if a leaf is not real and floating.

    Source: https://kexue.fm/archives/7094, https://arxiv.org/abs/1904.00962
    """
    parts = optax.chain(
        optax.scale_by_adam(b1, b2, eps, mu_dtype=mu_dtype),
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(_trust_ratio(), mask),
        optax.scale_by_learning_rate(learning_rate),
    )

    def init(params):
        require_floating(params, "lamb")
        return parts.init(params)

    return optax.GradientTransformationExtraArgs(init, parts.update)
