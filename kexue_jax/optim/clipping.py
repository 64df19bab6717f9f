"""Gradients made shorter: smoothly by their norm, and by the change of the loss."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating, safe_root

Scope = Literal["tree", "block", "unit"]


def _squares(leaf: jax.Array, axes: tuple[int, ...] | None = None) -> jax.Array:
    return jnp.sum(jnp.square(widened(leaf)), axis=axes, keepdims=axes is not None)


def _norms(updates: optax.Updates, per: Scope) -> Any:
    """A tree of norms that broadcast against the leaves."""
    if per == "unit":

        def unit(g):
            axes = tuple(range(g.ndim - 1)) if g.ndim > 1 else tuple(range(g.ndim))
            return safe_root(_squares(g, axes))

        return jax.tree.map(unit, updates)
    squares = jax.tree.map(_squares, updates)
    if per == "tree":
        norm = safe_root(sum(jax.tree.leaves(squares), jnp.zeros((), jnp.float32)))
        return jax.tree.map(lambda _: norm, squares)
    return jax.tree.map(safe_root, squares)


def _scale_by_norm(
    name: str, factor: Callable[[jax.Array], jax.Array], per: Scope
) -> optax.GradientTransformation:
    """Multiplies gradients by a function of their norm."""
    require(
        per in ("tree", "block", "unit"),
        f"per must be 'tree', 'block' or 'unit', got {per!r}",
    )

    def init(params):
        require_floating(params, name)
        return optax.EmptyState()

    def update(updates, state, params=None):
        del params
        require_floating(updates, name)

        def scale(g, norm):
            return (widened(g) * factor(norm)).astype(g.dtype)

        return jax.tree.map(scale, updates, _norms(updates, per)), state

    return optax.GradientTransformation(init, update)


def smooth_clip_by_norm(
    gamma: float = 1.0, *, per: Scope = "tree"
) -> optax.GradientTransformation:
    r"""Returns :math:`g\,\gamma / (\|g\| + \gamma)`, always shorter than gamma.

    Between half of what hard clipping leaves and all of it: small gradients pass, large
    ones get the norm gamma, and nothing switches in between.

    Args:
      gamma: positive.
      per: what a norm is taken over: ``tree``, all leaves; ``block``, each leaf;
        ``unit``, the slices of a leaf along its last axis (the outputs of a kernel
        ``[..., in, out]``), a vector being one unit.

    Raises:
      ValueError: if `gamma` is not positive, `per` is none of the three, or a leaf is
        not real and floating.

    Numerics: norms in float32; at 0 the update and its derivative are finite. A norm
      beyond float32 gives zeros, a nan in one leaf the whole of what shares its norm.

    Source: https://kexue.fm/archives/7469; `per` is added.
    """
    require(gamma > 0, f"gamma must be positive, got {gamma}")
    return _scale_by_norm(
        "smooth_clip_by_norm", lambda norm: gamma / (norm + gamma), per
    )


def smooth_clip_by_global_norm(gamma: float = 1.0) -> optax.GradientTransformation:
    """`smooth_clip_by_norm` over the whole tree; optax's namesake clips hard."""
    return smooth_clip_by_norm(gamma)


def scale_by_l0l1(
    l0: float, l1: float, *, per: Scope = "tree"
) -> optax.GradientTransformation:
    r"""Returns :math:`g / (L_0 + L_1 \|g\|)`, the best step where curvature grows.

    If the Hessian's norm is at most :math:`L_0 + L_1\|g\|` the loss falls in each step,
    by at least 0.28 of :math:`\|g\|^2 / (L_0 + L_1\|g\|)`. It is smooth clipping at
    :math:`\gamma = L_0/L_1` with the rate :math:`1/L_0`.

    Args:
      l0: positive. l1: at least 0, where 0 is gradient descent with the rate 1/l0.
      per: as in `smooth_clip_by_norm`; the guarantee is for ``tree``.

    Raises:
      ValueError: if l0 or l1 is out of range, `per` is unknown, or a leaf is not real
        and floating.

    Source: https://kexue.fm/archives/7469, where the condition is stated for every
      displacement; it holds for the Hessian.
    """
    require(l0 > 0, f"l0 must be positive, got {l0}")
    require(l1 >= 0, f"l1 must be at least 0, got {l1}")
    return _scale_by_norm("scale_by_l0l1", lambda norm: 1.0 / (l0 + l1 * norm), per)


def _is_masked(leaf: Any) -> bool:
    return isinstance(leaf, optax.MaskedNode)


def clip_by_loss_change(limit: float = 1.0) -> optax.GradientTransformationExtraArgs:
    r"""Shortens steps u to :math:`\langle u, g\rangle \le T`, the rate taken as 1.

    To first order the loss falls by the rate times :math:`\langle u, g\rangle`. Put it
    after what makes u out of the gradient and before the learning rate. A step that
    climbs, as momentum may, is left alone.

    Args:
      limit: T, positive.

    Raises:
      ValueError: if `limit` is not positive, a leaf is not real and floating, or
        `update` is called without the extra argument `grad`.

    Numerics: the inner product in float32.

    Source: https://kexue.fm/archives/10657
    """
    name = "clip_by_loss_change"
    require(limit > 0, f"limit must be positive, got {limit}")

    def init(params):
        require_floating(params, name)
        return optax.EmptyState()

    def update(updates, state, params=None, *, grad=None, **extra_args):
        del params, extra_args
        require_floating(updates, name)
        if grad is None:
            raise ValueError(
                f"{name} needs the gradient: call update(updates, state, params, "
                "grad=gradient)"
            )

        def product(u, g):  # `grad` is whole where a mask hides part of the updates
            return 0.0 if _is_masked(u) else jnp.sum(widened(u) * widened(g))

        products = jax.tree.map(product, updates, grad, is_leaf=_is_masked)
        change = sum(jax.tree.leaves(products), jnp.zeros((), jnp.float32))
        factor = limit / jnp.maximum(limit, change)
        return (
            jax.tree.map(lambda u: (widened(u) * factor).astype(u.dtype), updates),
            state,
        )

    return optax.GradientTransformationExtraArgs(init, update)
