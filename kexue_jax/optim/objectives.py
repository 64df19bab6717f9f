"""What all merges of K gradients share: the check, the Gram matrix, the weighted sum.

A merge sees the gradients only through the inner products of the K objectives, ``[K,
K]``, and gives K weights back; the tree is never laid out as one matrix. It comes first
in a chain. The sums of `kexue_jax.optim.surgery` are the simplest of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.optim.surgery import _check as check_axis

# (gram [K, K], losses [K], memory) -> weights [K], memory, certificates
Weigh = Callable[[Any, Any, Any], tuple[jax.Array, Any, dict[str, Any]]]


BLOCK = 32768  # columns; so that a block of a few rows stays in a cache


class ObjectivesState(NamedTuple):
    """What a merge remembers, and scalars for the score row."""

    memory: Any
    scores: dict[str, jax.Array]


def check_count(objectives: int) -> None:
    """Refuses a number of objectives below 1."""
    if objectives < 1:
        raise ValueError(f"objectives must be at least 1, got {objectives}")


def check(updates: optax.Updates, params: Any, objectives: int) -> None:
    """Refuses gradients without one leading axis of `objectives` on every leaf."""
    leaves = jax.tree.leaves(updates)
    if not leaves:
        return
    check_axis(updates, params)
    if len(leaves[0]) != objectives:
        raise ValueError(
            f"the transform was made for objectives = {objectives}, but the gradients "
            f"have a leading axis of {len(leaves[0])}"
        )
    if any(jnp.iscomplexobj(leaf) for leaf in leaves):
        raise ValueError("gradients of many objectives must be real, got complex ones")


def check_losses(value: jax.Array | None, objectives: int) -> jax.Array:
    """Returns the losses as float32 ``[K]``; refuses what is none or of another K."""
    if value is None or jnp.shape(value) != (objectives,):
        got = "none" if value is None else f"the shape {jnp.shape(value)}"
        raise ValueError(
            f"this transform needs the losses [{objectives}] as update(..., value=...)"
            f", got {got}"
        )
    return jnp.asarray(value).astype(jnp.float32)


def shared_leaves(updates: optax.Updates, shared_mask: Any) -> Any:
    """Returns a bool a leaf: True where the weights act. None is True everywhere."""
    if shared_mask is None:
        return jax.tree.map(lambda _: True, updates)
    mask = shared_mask(updates) if callable(shared_mask) else shared_mask
    return jax.tree.map(
        lambda shared, part: jax.tree.map(lambda _: bool(shared), part), mask, updates
    )


def leaves_named(tree: Any, *, texts: Sequence[str]) -> Any:
    """Returns True for each leaf whose path contains one of the texts.

    For a `shared_mask`, as ``dict(bind="kexue_jax.optim.objectives:leaves_named",
    texts=("trunk",))`` in a config. Paths read as in ``trunk/layers/0/kernel``.
    """

    def named(path, leaf):
        del leaf
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return any(text in name for text in texts)

    return jax.tree_util.tree_map_with_path(named, tree)


def gram(updates: optax.Updates, shared: Any, objectives: int) -> jax.Array:
    """The inner products of K gradients over all shared leaves: ``[K, K]``.

    Each leaf is contracted where it lies, in float32 at least; split over devices,
    the partial products are added under `jax.jit` without a word. A CPU takes large
    leaves in blocks: of one long product it would first transpose a copy.
    """

    def products(g, use):
        if not use:
            return 0.0
        if g.size <= len(g) * BLOCK or _split(g) is not None:
            return _products(g)
        return jax.lax.platform_dependent(g, cpu=_blocked_products, default=_products)

    parts = jax.tree.leaves(jax.tree.map(products, updates, shared))
    return sum(parts, jnp.zeros((objectives, objectives), jnp.float32))


def _wide(g: jax.Array) -> Any:
    return jnp.promote_types(g.dtype, jnp.float32)


def _split(g: jax.Array) -> jax.NamedSharding | None:
    """How products lie, on every device alike, if axes are split over explicit ones."""
    lies: Any = jax.typeof(g).sharding
    if all(axis is None for axis in lies.spec):
        return None
    return jax.NamedSharding(lies.mesh, jax.P(None, None))


def _products(g: jax.Array) -> jax.Array:
    axes = tuple(range(1, g.ndim))
    return jax.lax.dot_general(
        g,
        g,
        ((axes, axes), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=_wide(g),
        out_sharding=_split(g),
    )


def _blocked_products(g: jax.Array) -> jax.Array:
    """As `_products`, over blocks of columns."""
    rows = g.reshape(len(g), -1)
    blocks = rows.shape[1] // BLOCK

    def add(total, start):
        return total + _products(
            jax.lax.dynamic_slice_in_dim(rows, start, BLOCK, 1)
        ), ()

    rest = _products(rows[:, blocks * BLOCK :])
    return jax.lax.scan(add, rest, jnp.arange(blocks) * BLOCK)[0]


def combine(weights: jax.Array, updates: optax.Updates, shared: Any) -> optax.Updates:
    """The weighted sum over K where shared, the plain sum elsewhere.

    Summed in float32 at least; the result has the dtype of each gradient.
    """

    def merge(g, use):
        wide, factors = g.astype(_wide(g)), weights.astype(_wide(g))
        factors = factors if use else jnp.ones_like(factors)
        if len(g) <= 32:  # one pass over memory, twice as fast as a product and more
            total = sum(factors[k] * wide[k] for k in range(len(g)))
        else:
            total = jax.lax.dot_general(
                factors,
                wide,
                (((0,), (0,)), ((), ())),
                precision=jax.lax.Precision.HIGHEST,
            )
        return total.astype(g.dtype)

    return jax.tree.map(merge, updates, shared)


def scores_of(weights: jax.Array, certificates: dict[str, Any]) -> dict[str, jax.Array]:
    """Returns ``weight_0``, ``weight_1`` and so on, beside the certificates."""
    named = {f"weight_{k}": weights[k] for k in range(len(weights))} | certificates
    return {name: jnp.asarray(x, jnp.float32) for name, x in named.items()}


def no_scores(objectives: int, certificates: Sequence[str]) -> dict[str, jax.Array]:
    """Returns `scores_of` before the first update: zeros."""
    zeros = jnp.zeros(objectives, jnp.float32)
    return scores_of(zeros, dict.fromkeys(certificates, 0.0))


def merge(
    weigh: Weigh,
    *,
    objectives: int,
    memory: Callable[[], Any] = tuple,
    certificates: Sequence[str] = (),
    needs_losses: bool = False,
    needs_gram: bool = True,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""The transform :math:`\sum_k w_k g_k` whose weights `weigh` finds.

    Args:
      weigh: from inner products ``[K, K]``, losses ``[K]`` and memory to weights
        ``[K]``, memory and certificates; what it does not need it gets as None.
      objectives: K.
      memory: gives what it remembers before the first update, a tree of arrays.
      certificates: the names of its certificates; they become scores.
      needs_losses, needs_gram: whether it gets them.
      shared_mask: a tree of bools, or of prefixes of it, or a function from the
        gradients to one: True where parameters are shared. There the weights act, and
        only these are in the inner products; elsewhere the gradients are added up as
        they are, so that a head, which has one objective only, follows its own loss.
        None: all are shared.

    Raises:
      ValueError: if `objectives` is below 1; when traced, unless every leaf is ``[K,
        *shape of the parameter]`` and the losses, if needed, are ``[K]``.
    """
    check_count(objectives)

    def init(params):
        del params
        return ObjectivesState(memory(), no_scores(objectives, certificates))

    def update(updates, state, params=None, *, value=None, **extra):
        del extra
        check(updates, params, objectives)
        losses = check_losses(value, objectives) if needs_losses else None
        shared = shared_leaves(updates, shared_mask)
        inner = gram(updates, shared, objectives) if needs_gram else None
        weights, after, found = weigh(inner, losses, state.memory)
        scores = scores_of(weights, found)
        return combine(weights, updates, shared), ObjectivesState(after, scores)

    return optax.GradientTransformationExtraArgs(init, update)
