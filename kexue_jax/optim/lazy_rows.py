"""Rows of a table that get no gradient stay where they are."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from kexue_jax.optim.checks import require, require_floating


def lazy_rows(
    inner: optax.GradientTransformation,
    *,
    moments: Literal["kept", "moved"] = "kept",
) -> optax.GradientTransformationExtraArgs:
    """Updates by `inner` only those rows whose gradient has an entry other than 0.

    An embedding's row that is not in the batch has no gradient, but momentum and decay
    move it all the same, towards nothing that was asked for. A row is what the first
    axis of a leaf counts; scalars and vectors go by `inner` alone. Apply it to
    embeddings, with ``optax.partition``, and to plain gradients: no decay before it.

    Args:
      inner: a transform whose state, apart from scalars, is shaped like params.
      moments: of a row without gradient: ``kept`` to the bit, or ``moved`` by `inner`,
        as in the post, so that a row seen again starts from a fresher mean.

    Raises:
      ValueError: if `moments` is neither, a leaf is not real and floating, or a part
        of `inner`'s state that belongs to a leaf with rows has not as many.

    Source: https://kexue.fm/archives/6869, where moments are always moved.
    """
    require(
        moments in ("kept", "moved"),
        f"moments must be 'kept' or 'moved', got {moments!r}",
    )
    inner = optax.with_extra_args_support(inner)

    def init(params):
        require_floating(params, "lazy_rows")
        return inner.init(params)

    def seen(g):
        if g.ndim < 2:
            return jnp.ones((1,) * g.ndim, bool)
        return jnp.any(g != 0, axis=tuple(range(1, g.ndim)), keepdims=True)

    def choose(active, new, old):
        if active.ndim > 1 and new.shape[:1] + (1,) * (new.ndim - 1) != active.shape:
            raise ValueError(
                "lazy_rows needs an inner state shaped like params; for rows "
                f"{active.shape} it has {new.shape}"
            )
        return jnp.where(active, new, old)

    def update(updates, state, params=None, **extra_args):
        steps, after = inner.update(updates, state, params, **extra_args)
        rows = jax.tree.map(seen, updates)
        steps = jax.tree.map(
            lambda active, u: jnp.where(active, u, jnp.zeros_like(u)), rows, steps
        )
        if moments == "moved":
            return steps, after
        actives = optax.tree.map_params(
            inner,
            lambda _, active: active,
            after,
            rows,
            transform_non_params=lambda _: jnp.ones((), bool),
        )
        return steps, jax.tree.map(choose, actives, after, state)

    return optax.GradientTransformationExtraArgs(init, update)
