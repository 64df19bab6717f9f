"""The one door between nnx models and the functional world."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx


def _named(tree: Any) -> Any:
    """The same tree with every key a string, as files know them."""
    if isinstance(tree, dict):
        return {str(key): _named(value) for key, value in tree.items()}
    return tree


def _numbered(tree: Any) -> Any:
    """The inverse of `_named`: keys that are numbers are places in an `nnx.List`."""
    if isinstance(tree, dict):
        return {
            int(key) if isinstance(key, str) and key.isdecimal() else key: _numbered(v)
            for key, v in tree.items()
        }
    return tree


def functional(make: Callable[..., nnx.Module]) -> tuple[Callable, Callable]:
    """Views the model built by ``make(rngs=...)`` as two pure functions.

    ``init(rng) -> params, extras`` and ``apply(params, extras, *inputs, method=...,
    **options) -> output, extras``. `params` holds every `nnx.Param`, `extras` every
    other variable (batch statistics, counters), both as nested dicts of arrays whose
    keys are strings; after this door there is only `jax.jit`, `jax.grad` and optax.

    Args:
      make: builds the model from ``rngs=nnx.Rngs(...)`` alone. The model must keep no
        `Rngs` of its own: randomness comes in as an argument of the call.

    Returns:
      The pair ``init, apply``. `apply` reaches a method through ``method="name"``.
    """
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))

    def variables(model: nnx.Module) -> tuple[dict, dict]:
        _, params, extras = nnx.split(model, nnx.Param, ...)
        return _named(nnx.to_pure_dict(params)), _named(nnx.to_pure_dict(extras))

    def init(rng: jax.Array) -> tuple[dict, dict]:
        return variables(make(rngs=nnx.Rngs(rng)))

    def apply(params, extras, *inputs, method: str = "__call__", **options):
        model = nnx.merge(graphdef, _numbered(params), _numbered(extras))
        output = getattr(model, method)(*inputs, **options)
        return output, variables(model)[1]

    return init, apply
