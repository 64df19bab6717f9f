"""Names for the leaves of params, by which a config sends them to transforms."""

from collections.abc import Sequence
from typing import Any

import jax


def by_name(params: Any, *, rules: Sequence[tuple[str, str]], otherwise: str) -> Any:
    """Labels each leaf by the first rule whose text its path contains.

    For ``optax.partition(transforms, param_labels)``, as
    ``dict(bind="kexue_jax.optim.labels:by_name", rules=(("kernel", "matrix"),), ...)``.

    Args:
      params: a tree of arrays.
      rules: pairs of a text and a label; paths read as in
        ``stack/blocks/0/mixer/query/kernel``.
      otherwise: the label where no rule applies.

    Returns:
      A tree like `params` with labels as leaves.
    """

    def label(path, leaf):
        del leaf
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return next((label for text, label in rules if text in name), otherwise)

    return jax.tree_util.tree_map_with_path(label, params)
