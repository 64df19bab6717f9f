"""The step as the loop runs it: compiled for a batch's shapes, its scores in one array.

A row of scores is read from the devices at once: ten scalars would be ten transfers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kexue_jax.train import parallel
from kexue_jax.train.options import Options
from kexue_jax.train.step import State, init_state, make_step


@partial(
    jax.tree_util.register_dataclass, data_fields=("numbers",), meta_fields=("names",)
)
@dataclass(frozen=True)
class Scores:
    """The scores of one step, on the devices.

    Attributes:
      numbers: ``[S]`` float32.
      names: S of them, sorted.
    """

    numbers: jax.Array
    names: tuple[str, ...]

    def read(self) -> dict[str, float]:
        """Waits for the step and returns its scores as numbers, by name."""
        return dict(zip(self.names, np.asarray(self.numbers).tolist(), strict=True))


def pack(scores: Mapping[str, jax.Array]) -> Scores:
    """Returns scalars as one array.

    Raises:
      ValueError: if one of them is no scalar.
    """
    wrong = {name: jnp.shape(x) for name, x in scores.items() if jnp.shape(x)}
    if wrong:
        raise ValueError(f"scores must be scalars, got the shapes {wrong}")
    names = tuple(sorted(scores))
    numbers = [jnp.asarray(scores[name]).astype(jnp.float32) for name in names]
    return Scores(jnp.stack(numbers), names)


def abstract_state(task: Any, tx: Any, seed: int, layout: parallel.Layout) -> State:
    """Returns shape, dtype and sharding of every leaf; computes nothing."""
    shapes = jax.eval_shape(partial(init_state, task, tx, seed))
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        shapes,
        parallel.place_state(shapes, layout),
    )


def compile_step(
    task: Any,
    tx: Any,
    options: Options,
    layout: parallel.Layout,
    like: State,
    batch: Any,
    *,
    wrap: Sequence[Callable] = (),
    schedules: Mapping[str, Callable] | None = None,
) -> jax.stages.Compiled:
    """Returns the step compiled for a batch's shapes.

    Args:
      task, tx, options, layout: see `loop.fit`.
      like: the state, or its shapes with their shardings.
      batch: one that is placed.
      wrap: functions from loss to loss.
      schedules: functions of the step whose values join the scores.

    Returns:
      ``(state, batch) -> (state, Scores)``, which gives up the state's buffers. It
      knows its cost: ``cost_analysis()``, ``memory_analysis()``.
    """
    step = make_step(
        task,
        tx,
        seed=options.seed,
        wrap=wrap,
        micro_batches=options.micro_batches,
        compute_dtype=options.compute_dtype,
        max_skips=options.max_skips,
        axis_name="data" if layout.mode == "pmap" else None,
    )

    def packed(state, batch):
        after, scores = step(state, batch)
        for name, schedule in (schedules or {}).items():
            scores[name] = jnp.asarray(schedule(state.step))
        return after, pack(scores)

    shardings = jax.tree.map(lambda x: x.sharding, like)
    whole = parallel.parallel_step(packed, layout, shardings)
    return whole.lower(like, batch).compile()
