"""Any loss, trained by its values alone."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from kexue_jax.algorithms.zeroth_order import check_options, zeroth_order_gradient
from kexue_jax.losses.leaves import refuse_many, with_slopes


def _chosen(params: Any, leaves: Sequence[str]) -> list[bool]:
    """Whether each leaf lies under one of the paths."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths
    ]
    for prefix in leaves:
        if not any((name + "/").startswith(prefix + "/") for name in names):
            raise ValueError(f"there is no leaf under {prefix!r}; there are {names}")
    return [
        not leaves or any((name + "/").startswith(prefix + "/") for prefix in leaves)
        for name in names
    ]


def zeroth_order(
    loss: Callable,
    *,
    deviation: float,
    directions: int = 1,
    leaves: Sequence[str] = (),
    others: Literal["zero", "gradient"] = "zero",
    estimator: Literal["central", "forward", "one_point"] = "central",
    distribution: Literal["normal", "rademacher", "sphere", "orthogonal"] = "normal",
    baseline: Literal["none", "leave_one_out", "optimal"] = "none",
    shaping: Literal["none", "ranks"] = "none",
    chunk: int = 1,
) -> Callable:
    """Returns the loss with the gradient of `zeroth_order_gradient` by the parameters.

    So a score without a gradient is trained on as any loss is: accuracy, F1, BLEU, what
    a host computes. All values see the same batch and the same key, so the same
    dropout. With ``shaping="ranks"`` it is an evolution strategy.

    Args:
      loss: ``(params, extras, batch, rng) -> loss, (extras, scores)``, of one number.
      deviation, directions, estimator, distribution, baseline, shaping, chunk: as in
        `zeroth_order_gradient`; a step takes one value of the loss more than these do.
      leaves: what is moved: paths of parameters, or of what contains them, such as
        ``("head",)``; none for all.
      others: the gradient of the other parameters: ``"zero"``, so that nothing is
        differentiated and the loss may hold anything, or their own ``"gradient"``, with
        the moved ones held still.

    Returns:
      A loss of the same signature, with the value, the extras and the scores at the
      parameters themselves. It needs a key.

    Raises:
      ValueError: as `zeroth_order_gradient`; if `others` is neither; when traced, if
        there is no such leaf, the loss has parts, or there is no key.

    Source: https://kexue.fm/archives/7737, which advises it for a small part that has
      no gradient, or for the last steps; Malladi et al., arXiv 2305.17333, train whole
      language models so.
    """
    options: dict[str, Any] = dict(
        deviation=deviation,
        directions=directions,
        estimator=estimator,
        distribution=distribution,
        baseline=baseline,
        shaping=shaping,
        chunk=chunk,
    )
    check_options(**options)
    if others not in ("zero", "gradient"):
        raise ValueError(f"others must be zero or gradient, got {others!r}")
    leaves = (leaves,) if isinstance(leaves, str) else tuple(leaves)

    def wrapped(params, extras, batch, rng):
        if rng is None:
            raise ValueError("zeroth_order needs a key to draw its directions from")
        rng, own = jax.random.split(rng)
        flat, structure = jax.tree.flatten(params)
        chosen = _chosen(params, leaves)
        still = jax.lax.stop_gradient(flat)

        def at(own_leaves, other_leaves):
            own_leaves = iter(own_leaves)
            mixed = [
                next(own_leaves) if c else x
                for c, x in zip(chosen, other_leaves, strict=True)
            ]
            value, rest = loss(jax.tree.unflatten(structure, mixed), extras, batch, rng)
            refuse_many("zeroth_order", value)
            return value, rest

        mine = [x for c, x in zip(chosen, still, strict=True) if c]
        value, rest = at(mine, flat if others == "gradient" else still)
        found = zeroth_order_gradient(
            lambda x: at(x, still)[0],
            mine,
            own,
            value=jax.lax.stop_gradient(value),
            **options,
        )
        found = iter(found)
        slopes = [
            next(found) if c else jnp.zeros_like(x)
            for c, x in zip(chosen, still, strict=True)
        ]
        slopes = jax.tree.unflatten(structure, slopes)
        return value + with_slopes(jnp.zeros_like(value), slopes, params), rest

    return wrapped
