"""Child-Tuning: only some of the gradient's entries reach the optimizer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.numerics import widened
from kexue_jax.optim.checks import require, require_floating


class DrawState(NamedTuple):
    """Steps taken: with the seed, what is drawn next."""

    count: jax.Array


def child_tuning_free(keep: float = 0.3, seed: int = 0) -> optax.GradientTransformation:
    r"""Returns :math:`g M / p`, M being 1 with probability p, anew in each step.

    The mean is the gradient's. Under SGD it adds variance; under Adam, which divides by
    the root of the mean square, it is little more than :math:`\sqrt p` times the rate.

    Args:
      keep: p, in (0, 1]; 1 is the identity.
      seed: of what is drawn.

    Raises:
      ValueError: if `keep` is out of range, or a leaf is not real and floating.

    Source: https://kexue.fm/archives/8764 (F)
    """
    for ok in (keep > 0, keep <= 1):
        require(ok, f"keep must be in (0, 1], got {keep}")

    def init(params):
        require_floating(params, "child_tuning_free")
        return DrawState(jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        del params
        require_floating(updates, "child_tuning_free")
        key = jax.random.fold_in(jax.random.key(seed), state.count)
        leaves, shape = jax.tree.flatten(updates)

        def thin(index, g):
            drawn = jax.random.bernoulli(jax.random.fold_in(key, index), keep, g.shape)
            return jnp.where(drawn, widened(g) / keep, 0.0).astype(g.dtype)

        leaves = [thin(index, g) for index, g in enumerate(leaves)]
        return jax.tree.unflatten(shape, leaves), DrawState(
            jnp.asarray(optax.safe_increment(state.count))
        )

    return optax.GradientTransformation(init, update)


class MaskState(NamedTuple):
    """True where a gradient passes, shaped like params."""

    mask: Any


def child_tuning_driven(
    mask: Callable[[Any], Any] | Any,
) -> optax.GradientTransformation:
    """Returns the gradient where a fixed `mask` is True, zeros elsewhere.

    The task picks the mask: `largest_fraction` of the mean squared gradients (the
    diagonal of Fisher's information) of the weights one starts with.

    Args:
      mask: a tree of bool arrays shaped like params, or what makes it of params.

    Raises:
      ValueError: if the mask's shapes are not those of params, or a leaf is not real
        and floating.

    Source: https://kexue.fm/archives/8764 (D)
    """

    def init(params):
        require_floating(params, "child_tuning_driven")
        if not jax.tree.leaves(params):
            return MaskState(params)
        chosen = mask(params) if callable(mask) else mask
        chosen = jax.tree.map(lambda x: jnp.asarray(x, bool), chosen)
        shapes, want = (
            [x.shape for x in jax.tree.leaves(tree)] for tree in (chosen, params)
        )
        require(shapes == want, f"mask has the shapes {shapes}, params {want}")
        return MaskState(chosen)

    def update(updates, state, params=None):
        del params
        require_floating(updates, "child_tuning_driven")
        chosen = jax.tree.map(
            lambda g, keep: jnp.where(keep, g, jnp.zeros_like(g)), updates, state.mask
        )
        return chosen, state

    return optax.GradientTransformation(init, update)


def largest_fraction(fisher: Any, keep: float = 0.3) -> Any:
    """Marks the largest entries of a tree, `keep` of all: a tree of bool NumPy arrays.

    On the host, once, before training. Ties at the border are all marked.

    Raises:
      ValueError: if `keep` is not in (0, 1], or `fisher` has a nan.
    """
    for ok in (keep > 0, keep <= 1):
        require(ok, f"keep must be in (0, 1], got {keep}")
    every = [np.asarray(x).ravel() for x in jax.tree.leaves(fisher)]
    entries = np.concatenate([np.zeros(0, np.float32), *every])
    require(not np.isnan(entries).any(), "fisher must not have a nan")
    if not entries.size:
        return jax.tree.map(lambda x: np.ones(np.shape(x), bool), fisher)
    rank = max(1, round(keep * entries.size))
    border = np.partition(entries, entries.size - rank)[entries.size - rank]
    return jax.tree.map(lambda x: np.asarray(x) >= border, fisher)
