"""What a run would be, before it is: config, parameters, cost, devices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.configs import Experiment, flat
from experiments.objects import make_objects
from kexue_jax.train import parallel
from kexue_jax.train.compiled import abstract_state, compile_step
from kexue_jax.train.step import leaf_names


def _columns(rows: Sequence[Sequence[Any]]) -> str:
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in text) for i in range(len(text[0]))]
    return "\n".join(
        "  " + "  ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)).rstrip()
        for row in text
    )


def _bytes(tree: Any) -> int:
    return sum(
        x.size * x.dtype.itemsize
        for x in jax.tree.leaves(tree)
        if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
    )


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def describe(experiment: Experiment, workdir: Path) -> str:
    """Returns the resolved config, a table of parameters, and what a step costs.

    Compiles the step, but trains nothing and writes nothing.
    """
    objects = make_objects(experiment)
    layout, options = objects.layout, objects.options
    like = abstract_state(objects.task, objects.tx, options.seed, layout)
    placed = parallel.place_params(like.params, layout)
    rows = [("parameter", "shape", "dtype", "count", "placement")]
    for name, leaf in zip(
        leaf_names(like.params), jax.tree.leaves(like.params), strict=True
    ):
        where = ", ".join(map(str, placed[name])) or "everywhere"
        rows.append((name, list(leaf.shape), leaf.dtype, f"{leaf.size:,}", where))
    total = sum(x.size for x in jax.tree.leaves(like.params))
    entries = sorted(flat(experiment.config).items())
    mesh = ", ".join(f"{axis} {n}" for axis, n in layout.mesh.shape.items())
    parts = [
        f"config {experiment.file}:{experiment.variant}",
        _columns([(path, repr(value)) for path, value in entries]),
        f"workdir {workdir}",
        f"{total:,} parameters, {_size(_bytes(like.params))}; state "
        f"{_size(_bytes(like))} with the optimizer and extras",
        _columns(rows),
        f"devices {layout.mesh.size} {jax.devices()[0].device_kind} of "
        f"{jax.device_count()}, {jax.process_count()} process(es)\n"
        f"mesh {mesh}, mode {layout.mode}",
    ]
    if options.steps:
        parts.append(_step_cost(objects, like))
    return "\n".join(parts)


def _step_cost(objects: Any, like: Any) -> str:
    host = objects.task.batch(0)
    batch = parallel.place_batch(host, objects.layout)
    rows: list[Sequence[Any]] = [("batch", "shape", "dtype")]
    rows += [(name, list(np.shape(x)), np.asarray(x).dtype) for name, x in host.items()]
    compiled = compile_step(
        objects.task,
        objects.tx,
        objects.options,
        objects.layout,
        like,
        batch,
        wrap=objects.wrap,
    )
    lines = [_columns(rows)]
    cost = compiled.cost_analysis() or {}
    flops = cost.get("flops", float("nan"))
    lines.append(f"a step {flops / 1e9:.4g} GFLOP on each device")
    memory = compiled.memory_analysis()
    if memory is not None:
        lines.append(
            f"memory {_size(memory.temp_size_in_bytes)} of temporaries, "
            f"{_size(memory.argument_size_in_bytes)} of arguments on each device"
        )
    return "\n".join(lines)
