"""A chain of named parts, as a config can write it down and override it."""

from collections.abc import Sequence

import optax


def chain(
    order: Sequence[str], **parts: optax.GradientTransformation
) -> optax.GradientTransformationExtraArgs:
    """Returns ``optax.chain`` of the parts named in `order`.

    Args:
      order: names of parts, each once; the first meets the gradients first.
      **parts: transforms by name, all of them used.

    Raises:
      ValueError: if a name has no part, a part is not named, or a name comes twice.
    """
    missing = [name for name in order if name not in parts]
    unused = [name for name in parts if name not in order]
    twice = sorted({name for name in order if list(order).count(name) > 1})
    for fault, names in (("missing", missing), ("unused", unused), ("repeated", twice)):
        if names:
            raise ValueError(
                f"{fault} in the chain: {', '.join(names)} (order {tuple(order)}, "
                f"parts {tuple(parts)})"
            )
    return optax.chain(*(parts[name] for name in order))
