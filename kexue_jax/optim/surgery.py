"""Many objectives: transforms that merge gradients with a leading axis K into one.

They come first in a chain. What they were given is what each objective's own gradient
is; a loss that returns ``[K]`` gets such gradients from the loop.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


class MergeState(NamedTuple):
    """Scalars for the score row."""

    scores: dict[str, jax.Array]


def _check(updates: optax.Updates, params: optax.Params | None) -> None:
    """Refuses gradients without one leading axis K on every leaf."""
    leaves = jax.tree.leaves(updates)
    sizes = {leaf.shape[0] if leaf.ndim else None for leaf in leaves}
    if len(sizes) != 1 or None in sizes:
        raise ValueError(
            "gradients of many objectives need one leading axis K, the same on every "
            f"leaf; got the shapes {[leaf.shape for leaf in leaves]}"
        )
    if params is not None:
        want = jax.tree.map(jnp.shape, params)
        if jax.tree.map(lambda g: g.shape[1:], updates) != want:
            raise ValueError(
                "gradients of many objectives are [K, *shape of the parameter]; got "
                f"{jax.tree.map(jnp.shape, updates)} for {want}"
            )


def _norms(updates: optax.Updates) -> jax.Array:
    """The norm of each objective's gradient over the whole tree: ``[K]`` float32."""
    squares = [
        jnp.sum(
            jnp.square(jnp.abs(g).astype(jnp.float32)), axis=tuple(range(1, g.ndim))
        )
        for g in jax.tree.leaves(updates)
    ]
    return jnp.sqrt(sum(squares))


def _combine(weights: jax.Array, updates: optax.Updates) -> optax.Updates:
    """The weighted sum over K, in the dtype of each gradient."""

    def combine(g):
        return jnp.einsum("k,k...->...", weights, g.astype(jnp.float32)).astype(g.dtype)

    return jax.tree.map(combine, updates)


def sum_gradients() -> optax.GradientTransformation:
    r"""Returns the plain sum :math:`\sum_k g_k` of K gradients.

    It depends on the units of each loss: a loss in cents counts a hundred times as much
    as the same one in francs. Invariant to what is added to a loss.

    Raises:
      ValueError: when traced, unless every leaf is ``[K, *shape of the parameter]``.
    """

    def init(params):
        del params
        return optax.EmptyState()

    def update(updates, state, params=None):
        _check(updates, params)
        return jax.tree.map(lambda g: jnp.sum(g, axis=0), updates), state

    return optax.GradientTransformation(init, update)


def sum_unit_gradients(floor: float = 1e-8) -> optax.GradientTransformation:
    r"""Returns :math:`\sum_k g_k / \|g_k\|`, the norm taken over the whole tree.

    The only simple weighing that neither a factor on a loss nor a constant added to it
    changes. For two objectives its direction decreases both.

    Args:
      floor: a gradient whose norm is below this is divided by it instead, so that an
        objective at rest adds next to nothing and never a nan.

    Raises:
      ValueError: if `floor` is not positive; when traced, unless every leaf is
        ``[K, *shape of the parameter]``.

    Numerics: norms in float32; the update has the dtype of the gradients.
    The state's ``scores`` hold the least and the largest norm of an objective.

    Source: https://kexue.fm/archives/8870 (the weights by the norm of the gradient),
      with a floor.
    """
    if floor <= 0:
        raise ValueError(f"floor must be positive, got {floor}")

    def init(params):
        del params
        zero = jnp.zeros((), jnp.float32)
        return MergeState({"least_gradient_norm": zero, "largest_gradient_norm": zero})

    def update(updates, state, params=None):
        del state
        _check(updates, params)
        norms = _norms(updates)
        weights = 1.0 / jnp.maximum(norms, floor)
        scores = {
            "least_gradient_norm": jnp.min(norms),
            "largest_gradient_norm": jnp.max(norms),
        }
        return _combine(weights, updates), MergeState(scores)

    return optax.GradientTransformation(init, update)
