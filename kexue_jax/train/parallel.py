"""Where arrays live: the mesh, the placement of parameters, jit or pmap.

One config section says it all::

    mesh = dict(mode="jit", data=-1, fsdp=1, tensor=1, rules=((".*", "fsdp"),))

A batch is split over `data` and `fsdp` together. A rule is a pattern, searched in the
path of a parameter, and its placement: an axis (or None) for each of its dimensions, or
one axis, which then splits the largest dimension that it divides. The first rule that
matches counts; a parameter that none matches is on every device.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from kexue_jax.train.step import Refused, State, leaf_names

AXES = ("data", "fsdp", "tensor")


class Layout(NamedTuple):
    """A mesh, the way to run on it, and the rules that place parameters."""

    mesh: Mesh
    mode: str
    rules: tuple

    @property
    def batch(self) -> NamedSharding:
        """The placement of a batch: rows over `data` and `fsdp`."""
        return NamedSharding(self.mesh, PartitionSpec(("data", "fsdp")))

    @property
    def everywhere(self) -> NamedSharding:
        """The placement of what every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())


def make_layout(
    *,
    mode: str = "jit",
    data: int = -1,
    fsdp: int = 1,
    tensor: int = 1,
    rules: Sequence = ((".*", "fsdp"),),
    devices: Sequence[Any] | None = None,
) -> Layout:
    """Returns the layout that a config's ``mesh`` section describes.

    Args:
      mode: ``"jit"``, where the loss sees the global batch, or ``"pmap"``, where each
        device sees its own rows and gradients are averaged: only for losses that are
        means over examples and, to equal ``"jit"``, draw nothing.
      data, fsdp, tensor: sizes of the three axes; one may be -1, for the rest of the
        devices. A product below their number uses the first ones.
      rules: pairs of a pattern and a placement, see the module.
      devices: default all of this run.

    Raises:
      Refused: if sizes and devices do not fit, or the mode cannot honour them.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    if mode not in ("jit", "pmap"):
        raise Refused(f"mesh.mode must be 'jit' or 'pmap', got {mode!r}")
    for name, size in sizes.items():
        if size < 1 and size != -1:
            raise Refused(f"mesh.{name} must be positive or -1, got {size}")
    free = [name for name, size in sizes.items() if size == -1]
    if len(free) > 1:
        raise Refused(f"mesh: only one axis may be -1, got {', '.join(free)}")
    fixed = int(np.prod([size for size in sizes.values() if size > 0]))
    if free:
        if len(devices) % fixed:
            raise Refused(
                f"mesh: {sizes} do not divide the {len(devices)} devices there are"
            )
        sizes[free[0]] = len(devices) // fixed
    count = int(np.prod(list(sizes.values())))
    if count > len(devices):
        raise Refused(
            f"mesh: {sizes} ask for {count} devices, but there are {len(devices)}"
        )
    if jax.process_count() > 1 and count != len(devices):
        raise Refused(
            f"mesh: with several processes all {len(devices)} devices are used; "
            f"{sizes} use {count}"
        )
    if mode == "pmap" and (sizes["fsdp"] > 1 or sizes["tensor"] > 1):
        raise Refused(f"mesh.mode = 'pmap' splits only over data, got {sizes}")
    if mode == "pmap" and jax.process_count() > 1:
        raise Refused("mesh.mode = 'pmap' runs in one process; use 'jit' for several")
    grid = np.array(devices[:count]).reshape([sizes[name] for name in AXES])
    mesh = Mesh(grid, AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return Layout(mesh, mode, tuple((pattern, rule) for pattern, rule in rules))


def _placement(name: str, shape: tuple, rule: Any, mesh: Mesh) -> PartitionSpec:
    """The placement that one rule gives to one parameter."""
    asked = {rule} if isinstance(rule, str) else {axis for axis in rule if axis}
    unknown = asked - set(AXES)
    if unknown:
        raise Refused(
            f"mesh.rules: {sorted(unknown)} for {name} are no axes of the mesh; "
            f"it has {', '.join(AXES)}"
        )
    if isinstance(rule, str):
        size = mesh.shape[rule]
        fits = [i for i, n in enumerate(shape) if n >= size and n % size == 0]
        if size == 1 or not fits:
            return PartitionSpec()
        best = max(fits, key=lambda i: (shape[i], -i))
        return PartitionSpec(*[rule if i == best else None for i in range(len(shape))])
    if len(rule) != len(shape):
        raise Refused(
            f"mesh.rules: {rule} has {len(rule)} entries, but {name} has the shape "
            f"{shape}"
        )
    for axis, n in zip(rule, shape, strict=True):
        if axis and n % mesh.shape[axis]:
            raise Refused(
                f"mesh.rules: {axis} = {mesh.shape[axis]} does not divide {n} in "
                f"{name} of shape {shape}"
            )
    return PartitionSpec(*rule)


def place_params(params: Any, layout: Layout) -> dict[str, PartitionSpec]:
    """Returns the placement of every parameter, by path.

    Args:
      params: arrays or anything with a shape.

    Raises:
      Refused: if a rule does not fit a parameter that it matches, or matches none.
    """
    found, used = {}, set()
    for name, leaf in zip(leaf_names(params), jax.tree.leaves(params), strict=True):
        found[name] = PartitionSpec()
        for pattern, rule in layout.rules:
            if re.search(pattern, name):
                found[name] = _placement(name, leaf.shape, rule, layout.mesh)
                used.add(pattern)
                break
    idle = [pattern for pattern, _ in layout.rules if pattern not in used]
    if idle and found:
        raise Refused(
            f"mesh.rules: {idle} match no parameter first; there are "
            f"{', '.join(list(found)[:8])}{' …' if len(found) > 8 else ''}"
        )
    return found


def place_state(state: State, layout: Layout) -> State:
    """Returns a sharding for every leaf of a state (arrays or their shapes).

    What an optimizer or an average keeps of a parameter lies where the parameter lies:
    a leaf belongs to the parameter whose path ends its own and whose shape it has.
    """
    placed = place_params(state.params, layout)
    shapes = dict(
        zip(
            leaf_names(state.params),
            (leaf.shape for leaf in jax.tree.leaves(state.params)),
            strict=True,
        )
    )

    def sharding(name: str, leaf: Any) -> NamedSharding:
        parts = name.split("/")
        for start in range(len(parts)):
            suffix = "/".join(parts[start:])
            if shapes.get(suffix) == leaf.shape:
                return NamedSharding(layout.mesh, placed[suffix])
        return layout.everywhere

    leaves, tree = jax.tree.flatten(state)
    names = leaf_names(state)
    return jax.tree.unflatten(
        tree, [sharding(n, x) for n, x in zip(names, leaves, strict=True)]
    )


def place_batch(batch: Mapping[str, np.ndarray], layout: Layout) -> dict[str, Any]:
    """Puts a global batch on the devices; each process keeps the rows of its own.

    On a single CPU device the arrays stay where they are, which is where it reads.

    Raises:
      Refused: if the devices that share the batch do not divide its rows.
    """
    shares = layout.mesh.shape["data"] * layout.mesh.shape["fsdp"]
    first = layout.mesh.devices.flat[0]
    at_home = layout.mode == "jit" and layout.mesh.size == 1 and first.platform == "cpu"

    def put(name, rows):
        rows = np.asarray(rows)
        if not rows.ndim or rows.shape[0] % shares:
            raise Refused(
                f"batch[{name!r}] of shape {rows.shape} cannot be split over "
                f"{shares} devices (mesh.data times mesh.fsdp); choose a batch that "
                "they divide, or fewer devices, such as --config.mesh.data=1"
            )
        if at_home:
            return rows
        if layout.mode == "pmap":
            return rows.reshape(shares, -1, *rows.shape[1:])
        if jax.process_count() == 1:
            return jax.device_put(rows, layout.batch)
        return jax.make_array_from_callback(rows.shape, layout.batch, rows.__getitem__)

    return {name: put(name, rows) for name, rows in batch.items()}


def place_whole(tree: Any, layout: Layout) -> Any:
    """Puts a tree of host arrays on every device of the mesh."""
    return jax.tree.map(
        lambda x: jax.make_array_from_callback(
            np.shape(x), layout.everywhere, lambda index: np.asarray(x)[index]
        ),
        tree,
    )


def parallel_step(step: Callable, layout: Layout, shardings: State) -> Any:
    """Returns `step` as a `jax.jit` or `jax.pmap` that gives up its state's buffers."""
    if layout.mode == "pmap":
        return jax.pmap(
            step,
            axis_name="data",
            in_axes=(None, 0),
            out_axes=(None, None),
            devices=list(layout.mesh.devices.flat),
        )
    return jax.jit(
        step,
        in_shardings=(shardings, layout.batch),
        out_shardings=(shardings, layout.everywhere),
        donate_argnums=0,
    )
