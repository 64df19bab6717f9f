"""What the leaves of params are for, read from their names."""

from typing import Any

import jax

ROLES = ("bias", "gain", "embedding", "matrix")
_NAMES = {
    "bias": ("bias", "beta"),
    "gain": ("gain", "gamma", "scale"),
    "embedding": ("embedding", "table"),
}


def by_role(params: Any) -> Any:
    """Labels each leaf ``bias``, ``gain``, ``embedding`` or ``matrix``.

    By the last part of its path alone, as Flax names leaves: ``output_bias`` is a
    bias, ``scale`` a gain, ``table`` an embedding, and what no name gives away a
    matrix. Shapes do not count, since a stack of layers adds an axis to each.

    Args:
      params: a tree of arrays.

    Returns:
      A tree like `params` with labels as leaves, as ``optax.partition`` takes them.
    """

    def label(path, leaf):
        del leaf
        name = jax.tree_util.keystr(path[-1:], simple=True).lower()
        roles = (
            role for role, texts in _NAMES.items() if any(t in name for t in texts)
        )
        return next(roles, "matrix")

    return jax.tree_util.tree_map_with_path(label, params)


def is_weight(params: Any) -> Any:
    """Marks what decay and trust ratios are for: no bias and no gain."""
    return jax.tree.map(lambda role: role not in ("bias", "gain"), by_role(params))


def is_kernel(params: Any) -> Any:
    """Marks what penalties of scale are for: matrices, no embedding, bias or gain."""
    return jax.tree.map(lambda role: role == "matrix", by_role(params))
