"""One leaf of the parameters or of the batch, by its path, for losses that move it."""

from typing import Any

import jax
import jax.numpy as jnp


def _names(tree: Any) -> dict[str, Any]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _where(leaf: str) -> tuple[bool, str]:
    root, _, name = leaf.partition("/")
    if root not in ("params", "batch") or not name:
        raise ValueError(
            f"leaf must be batch/<entry> or params/<path of a leaf>, got {leaf!r}"
        )
    return root == "params", name


def read(leaf: str, params: Any, batch: Any) -> jax.Array:
    """Returns the leaf.

    Raises:
      ValueError: if there is no such leaf, or it is not floating.
    """
    of_params, name = _where(leaf)
    known = _names(params if of_params else batch)
    if name not in known:
        raise ValueError(f"there is no leaf {leaf!r}; there are {sorted(known)}")
    found = jnp.asarray(known[name])
    if not jnp.issubdtype(found.dtype, jnp.floating):
        raise ValueError(f"leaf {leaf!r} must be floating, got {found.dtype}")
    return found


def moved(leaf: str, params: Any, extras: Any, batch: Any, x: jax.Array) -> tuple:
    """Returns ``params, extras, batch`` with `x` in the leaf's place."""
    of_params, name = _where(leaf)

    def put(tree):
        return jax.tree_util.tree_map_with_path(
            lambda path, old: (
                x
                if jax.tree_util.keystr(path, simple=True, separator="/") == name
                else old
            ),
            tree,
        )

    return (put(params), extras, batch) if of_params else (params, extras, put(batch))


def refuse_many(name: str, value: jax.Array) -> None:
    """Refuses a loss of parts.

    Raises:
      ValueError: if `value` is no single number.
    """
    if value.ndim:
        raise ValueError(
            f"{name} takes a loss of one number, got one of shape {value.shape}; wrap "
            "each part by itself, or merge them first"
        )


def with_slopes(value: jax.Array, slopes: Any, params: Any) -> jax.Array:
    """Returns `value`, a constant, as a function whose gradient by `params` is known.

    Args:
      value: ``[]``.
      slopes: shaped like `params`.
      params: what the gradient is asked for.
    """
    value, slopes = jax.lax.stop_gradient((value, slopes))

    def none(slope, x):  # 0, with a slope
        return jnp.sum(slope * (x - jax.lax.stop_gradient(x)))

    parts = jax.tree.leaves(jax.tree.map(none, slopes, params))
    return value + sum(parts, start=jnp.zeros_like(value)).astype(value.dtype)


def safe_norm(x: jax.Array, axes: tuple[int, ...] | None) -> jax.Array:
    """Returns the Euclidean norm in float32, with kept axes; gradient 0 at 0."""
    square = jnp.sum(jnp.square(x.astype(jnp.float32)), axis=axes, keepdims=True)
    some = square > 0.0
    return jnp.where(some, jnp.sqrt(jnp.where(some, square, 1.0)), 0.0)


def over_length(x: jax.Array, axes: tuple[int, ...] | None) -> jax.Array:
    """Returns x by its norm over `axes`, in the dtype of x; 0 where that is 0.

    The greatest entry is divided by first: squares of small gradients would be 0.
    """
    wide = x.astype(jnp.float32)
    most = jnp.max(jnp.abs(wide), axis=axes, keepdims=True)
    wide = wide / jnp.where(most > 0.0, most, 1.0)
    norm = safe_norm(wide, axes)
    return (wide / jnp.where(norm > 0.0, norm, 1.0)).astype(x.dtype)
