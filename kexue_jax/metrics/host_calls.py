"""Calls of NumPy code in the middle of a compiled program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental.buffer_callback import buffer_callback


def call_on_host(
    function: Callable[..., Sequence[np.ndarray]],
    shapes: Sequence[jax.ShapeDtypeStruct],
    *args: jax.Array,
    vmap_method: str,
) -> list[jax.Array]:
    """Returns what `function` makes of arrays, called while the program runs.

    On a CPU it reads the program's own buffers. ``jax.pure_callback``, which serves
    elsewhere, copies them on the threads of XLA and waits for that; where these are
    few, as on one core, all may be waiting in such calls, and the program never ends.

    Args:
      function: pure, of NumPy arrays that it must not write into, to as many arrays as
        there are `shapes`.
      shapes: shapes and dtypes of what it returns.
      args: what it is called with.
      vmap_method: what `jax.vmap` makes of it, as in ``jax.pure_callback``.
    """
    shapes = list(shapes)

    def filled(context, outputs, *buffers):
        del context  # which device it is
        found = function(*map(np.asarray, buffers))
        for output, array in zip(outputs, found, strict=True):
            np.asarray(output)[...] = array

    def near(*args: jax.Array) -> Any:
        return buffer_callback(filled, shapes, vmap_method=vmap_method)(*args)

    def far(*args: jax.Array) -> Any:
        return jax.pure_callback(
            lambda *own: list(function(*map(np.asarray, own))),
            shapes,
            *args,
            vmap_method=vmap_method,
        )

    return jax.lax.platform_dependent(*args, cpu=near, default=far)
