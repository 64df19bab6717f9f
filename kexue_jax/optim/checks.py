"""What every transform asks of its arguments, and how it reads a leaf."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer


def require(ok: Any, message: str) -> None:
    """Raises `message` where a number is out of range; traced numbers are trusted.

    ``optax.inject_hyperparams`` builds a transform anew from traced numbers, whose
    range nobody can look at.

    Raises:
      ValueError: if `ok` is known and false.
    """
    if not isinstance(ok, Tracer) and not ok:
        raise ValueError(message)


def require_floating(tree: Any, transform: str) -> None:
    """Refuses leaves that are not real floating numbers, by their names.

    Raises:
      ValueError: when traced, naming the leaves that are integers, bools or complex.
    """
    wrong = [
        f"{jax.tree_util.keystr(path, simple=True, separator='/')} "
        f"({jnp.result_type(leaf)})"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    if wrong:
        raise ValueError(
            f"{transform} takes real floating leaves, got {', '.join(wrong)}; keep "
            "them out with optax.masked or optax.partition"
        )


def require_params(params: Any, transform: str) -> None:
    """Refuses a call without params.

    Raises:
      ValueError: if `params` is None.
    """
    if params is None:
        raise ValueError(
            f"{transform} needs the params: call update(updates, state, params)"
        )


def safe_root(x: jax.Array) -> jax.Array:
    """The square root, whose derivative at 0 is 0."""
    rest = x == 0
    return jnp.where(rest, 0.0, jnp.sqrt(jnp.where(rest, 1.0, x)))
