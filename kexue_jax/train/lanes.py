"""Several runs of one config side by side in one program, by `jax.vmap`.

The runs, the *lanes*, share their batches and differ in their seeds and in scalars of
their optimizers. Together they are a task and a transform like any others, so that the
one loop trains them. Each lane has the numbers of a run of its own, up to rounding: a
product of stacked matrices is not summed in the order of a single one.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.train.options import Options
from kexue_jax.train.step import Refused, State

MARK = "#"  # between a score's name and the number of its lane


class Lanes:
    """A task whose params and extras are those of every lane, stacked.

    The loss is the sum over lanes, so that the gradient of a lane's params is its own;
    scores carry the number of their lane: ``loss#0``, ``test/accuracy#3``.
    """

    def __init__(
        self, task: Any, seeds: Sequence[int], *, wrap: Sequence[Callable] = ()
    ):
        """Puts runs of `task` with these seeds side by side.

        Args:
          task: of one run; a loss ``[K]`` of several objectives is refused when traced.
          seeds: one for each lane.
          wrap: functions from loss to loss, applied to each lane's own.
        """
        self.task, self.batch = task, task.batch
        self.fingerprint = getattr(task, "fingerprint", dict)
        self._seeds = np.array(seeds, np.uint32)
        self._loss = reduce(lambda inner, outer: outer(inner), wrap, task.loss)

    def init(self, rng: jax.Array) -> tuple[Any, Any]:
        """Returns the params and extras of all lanes; `rng` is not used."""
        del rng
        keys = jax.vmap(jax.random.key)(self._seeds)
        params, extras = jax.vmap(self.task.init)(keys)
        return params, {"lanes": extras, "step": jnp.zeros((), jnp.int32)}

    def loss(self, params, extras, batch, rng):
        """Returns the sum of the lanes' losses; see `step.Task`."""
        del rng  # a lane's randomness is that of a run with its seed

        def one(params, lane_extras, seed):
            key = jax.random.fold_in(jax.random.key(seed), extras["step"])
            loss, (after, scores) = self._loss(params, lane_extras, batch, key)
            if loss.ndim:
                raise Refused(f"lanes need a loss of shape [], got {loss.shape}")
            return loss, (after, scores | {"loss": loss})

        losses, (after, scores) = jax.vmap(one)(params, extras["lanes"], self._seeds)
        after = {"lanes": after, "step": extras["step"] + 1}
        named = {
            f"{name}{MARK}{lane}": values[lane]
            for name, values in scores.items()
            for lane in range(len(self._seeds))
        }
        return jnp.sum(losses), (after, named)

    def evaluate(self, params: Any, extras: Any) -> dict[str, float]:
        """Returns the scores of every lane, one lane after another."""
        found = {}
        for lane in range(len(self._seeds)):
            scores = self.task.evaluate(_at(params, lane), _at(extras["lanes"], lane))
            found |= {f"{name}{MARK}{lane}": x for name, x in scores.items()}
        return found


def lanes_transform(
    transforms: Sequence[optax.GradientTransformation],
) -> optax.GradientTransformationExtraArgs:
    """Returns a transform of stacked params that steps each lane by its own.

    One that all share is mapped; those that differ stand one after another in the
    program. A transform that asks for the loss cannot have it here, and raises.

    Args:
      transforms: one for each lane, whose states have the same structure.
    """
    lanes = len(transforms)
    each = [optax.with_extra_args_support(tx) for tx in transforms]
    shared = all(tx is transforms[0] for tx in transforms)

    def init(params):
        if shared:
            return jax.vmap(each[0].init)(params)
        return _stacked([tx.init(_at(params, i)) for i, tx in enumerate(each)])

    def update(updates, state, params=None, **extra):
        del extra

        def one(tx, grads, state, params):
            return tx.update(grads, state, params, grad=grads)

        if shared:
            return jax.vmap(lambda *parts: one(each[0], *parts))(updates, state, params)
        parts = [[_at(x, i) for x in (updates, state, params)] for i in range(lanes)]
        return _stacked([one(tx, *part) for tx, part in zip(each, parts, strict=True)])

    return optax.GradientTransformationExtraArgs(init, update)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def check_options(options: Options) -> None:
    """Refuses what can only be decided for one run at a time.

    Raises:
      Refused: naming the option.
    """
    plain = dict(micro_batches=1, best=None, patience=None, spike_factor=None)
    for name, value in (plain | {"max_skips": 0}).items():
        if getattr(options, name) != value:
            raise Refused(
                f"runs side by side need {name} = {value}, got {getattr(options, name)}"
            )


def lane_state(state: State, lane: int) -> State:
    """Returns the state that a run of one lane alone would have."""
    return State(
        state.step,
        _at(state.params, lane),
        _at(state.extras["lanes"], lane),
        _at(state.opt_state, lane),
        state.counters,
    )


def lane_row(row: Mapping[str, Any], lane: int) -> dict[str, Any]:
    """Returns the scores of one lane from a row of all."""
    found = {"step": row["step"]}
    for name, value in row.items():
        score, mark, number = name.rpartition(MARK)
        if mark and number == str(lane):
            found[score] = value
    return found


def _at(tree: Any, lane: int) -> Any:
    return jax.tree.map(lambda x: x[lane], tree)
