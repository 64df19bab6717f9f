"""One update of any task by any transform."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax


class Refused(ValueError):
    """A run cannot be made as it is asked for; the message says what to change."""


class Task(Protocol):
    """All that the loop knows about an experiment.

    Beside these a task may have ``exhibits(params, extras)`` (what the report shows),
    ``predict(params, extras, inputs)`` and ``fingerprint()`` (what its data are: a dict
    of numbers and strings that a resumed run must find unchanged).
    """

    def init(self, rng: jax.Array) -> tuple[Any, Any]:
        """Returns params, which are trained, and extras, which `loss` carries along."""
        ...

    def batch(self, step: int) -> Mapping[str, np.ndarray]:
        """Returns the global batch of a step, examples along the first axis."""
        ...

    def loss(
        self, params: Any, extras: Any, batch: Mapping[str, jax.Array], rng: Any
    ) -> tuple[jax.Array, tuple[Any, dict[str, jax.Array]]]:
        """Returns the loss, ``[]`` or ``[K]``, then extras and scores.

        Pure; `rng` is a key, or None to evaluate. The scores are means over the batch,
        but for ``weight``: what the loss is a mean over (tokens, say). Without it every
        part of a batch weighs the same.
        """
        ...

    def evaluate(self, params: Any, extras: Any) -> Mapping[str, float]:
        """Returns scores on held-out data, named ``set/score``."""
        ...


class State(NamedTuple):
    """All that a checkpoint holds.

    `counters` are int32 scalars: ``skipped`` updates in all, ``skipped_in_row``,
    ``rollbacks`` made and ``offset``, the batches passed over by them.
    """

    step: jax.Array
    params: Any
    extras: Any
    opt_state: Any
    counters: dict[str, jax.Array]


COUNTERS = ("skipped", "skipped_in_row", "rollbacks", "offset")


def init_state(
    task: Task,
    tx: optax.GradientTransformation,
    seed: int,
    leaves: Mapping[str, jax.Array] | None = None,
) -> State:
    """Returns the state before the first step; pure, so it may be jitted.

    `leaves` are parameters by their paths, in place of those that the task draws.
    """
    params, extras = task.init(jax.random.key(seed))
    if leaves:
        params = _with_leaves(params, leaves)
    zero = jnp.zeros((), jnp.int32)
    counters = {name: zero for name in COUNTERS}
    return State(zero, params, extras, tx.init(params), counters)


def _with_leaves(params, leaves):
    names, (old, structure) = leaf_names(params), jax.tree.flatten(params)
    strange = set(leaves) - set(names)
    if strange:
        raise ValueError(f"leaves must be of the parameters, got {sorted(strange)}")
    for place, name in enumerate(names):
        if name in leaves:
            if leaves[name].shape != old[place].shape:
                raise ValueError(
                    f"{name} must have the shape {old[place].shape}, got "
                    f"{leaves[name].shape}"
                )
            old[place] = jnp.asarray(leaves[name], old[place].dtype)
    return jax.tree.unflatten(structure, old)


def leaf_names(tree: Any) -> list[str]:
    """Returns the path of every leaf, such as ``layers/0/kernel``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves
    ]


def describe_leaf(leaf: Any) -> str:
    """Returns dtype and shape, such as ``float32[64, 8]``."""
    return f"{leaf.dtype}{list(leaf.shape)}"


def _squares(tree: Any) -> jax.Array:
    """The sum of squares of each floating leaf, in float32: ``[leaves]``."""
    leaves = [
        jnp.sum(jnp.square(jnp.abs(leaf).astype(jnp.float32)))
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.inexact)
    ]
    return jnp.stack(leaves) if leaves else jnp.zeros((0,), jnp.float32)


def _floating(tree: Any) -> list[str]:
    leaves = jax.tree.leaves(tree)
    names = zip(leaf_names(tree), leaves, strict=True)
    return [name for name, x in names if jnp.issubdtype(x.dtype, jnp.inexact)]


def culprits(state: State) -> list[str]:
    """Returns what the score ``nonfinite`` counts through, by name."""
    grads = [f"gradient of {name}" for name in _floating(state.params)]
    updates = [f"update of {name}" for name in _floating(state.params)]
    extras = [f"extras {name}" for name in _floating(state.extras)]
    return ["loss", *grads, *updates, *extras]


def _cast(tree: Any, dtype: Any) -> Any:
    def cast(leaf):
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def _same(got: Any, want: Any, what: str, hint: str, describe: Callable) -> None:
    """Refuses a tree whose leaves differ from another's in path or description."""
    have, need = (
        dict(zip(leaf_names(tree), map(describe, jax.tree.leaves(tree)), strict=True))
        for tree in (got, want)
    )
    wrong = [
        f"{name}: {have.get(name, 'missing')} instead of {need.get(name, 'nothing')}"
        for name in sorted(have | need)
        if have.get(name) != need.get(name)
    ]
    if wrong:
        raise ValueError(f"{what}: {hint}\n  " + "\n  ".join(wrong[:20]))


def _weighed(weight: jax.Array, x: jax.Array) -> jax.Array:
    """`x` times its weight; a part that weighs nothing adds nothing, not even a nan."""
    return jnp.where(weight > 0, weight * x, 0)


def _parts(batch: Mapping[str, jax.Array], count: int) -> dict[str, jax.Array]:
    """Splits the first axis: part i takes every count-th row, from row i on.

    Neighbouring rows go to different parts, so that a batch which is split over devices
    stays where it is.
    """

    def split(name, rows):
        if rows.shape[0] % count:
            raise Refused(
                f"micro_batches = {count} does not divide the {rows.shape[0]} rows of "
                f"batch[{name!r}]"
            )
        return rows.reshape(-1, count, *rows.shape[1:]).swapaxes(0, 1)

    return {name: split(name, rows) for name, rows in batch.items()}


def _objective(task, wrap, compute_dtype) -> Callable:
    """The wrapped loss, with its parameters and inputs in the compute dtype."""
    loss_fn = reduce(lambda inner, outer: outer(inner), wrap, task.loss)

    def objective(params, extras, batch, rng):
        cast = partial(_cast, dtype=compute_dtype)
        loss, (after, scores) = loss_fn(cast(params), extras, cast(dict(batch)), rng)
        hint = "a loss must return extras of the shapes and dtypes it was given"
        after = jax.tree.map(
            lambda new, old: (
                new.astype(old.dtype)
                if jnp.issubdtype(new.dtype, jnp.floating)
                else new
            ),
            after,
            extras,
        )
        _same(after, extras, "extras changed", hint, describe_leaf)
        if loss.ndim > 1:
            raise ValueError(f"a loss is of shape [] or [K], got {loss.shape}")
        scores = {
            name: jnp.asarray(x).astype(jnp.float32) for name, x in scores.items()
        }
        weight = scores.get("weight", jnp.ones((), jnp.float32))
        wrong = {name: x.shape for name, x in scores.items() if x.shape}
        if wrong:
            raise ValueError(f"scores must be scalars, got the shapes {wrong}")
        return loss.astype(jnp.float32), (after, scores, weight)

    return objective


def _pull_back(objective, params, extras, batch, rng):
    """Loss, gradients (with a leading axis K if the loss has one), extras, scores."""
    bound = partial(objective, extras=extras, batch=batch, rng=rng)
    loss, pull, (extras, scores, weight) = jax.vjp(bound, params, has_aux=True)
    if loss.ndim:
        (grads,) = jax.vmap(pull)(jnp.eye(loss.size, dtype=loss.dtype))
    else:
        (grads,) = pull(jnp.ones_like(loss))
    return loss, grads, extras, scores, weight


def _accumulate(objective, params, extras, batch, rng, count):
    """As `_pull_back`, over `count` parts of the batch, weighed by their weights."""
    if count == 1:
        return _pull_back(objective, params, extras, batch, rng)
    parts = _parts(batch, count)

    def add(carry, inputs):
        extras, totals = carry
        index, part = inputs
        key = jax.random.fold_in(rng, index)
        loss, grads, extras, scores, weight = _pull_back(
            objective, params, extras, part, key
        )
        means = (loss, grads, scores)
        totals = jax.tree.map(
            lambda total, x: total + _weighed(weight, x).astype(total.dtype),
            totals,
            (*means, jnp.ones_like(weight)),
        )
        return (extras, totals), None

    shapes = jax.eval_shape(
        partial(_pull_back, objective),
        params,
        extras,
        jax.tree.map(lambda x: x[0], parts),
        rng,
    )
    loss, grads, _, scores, weight = shapes
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, jnp.promote_types(x.dtype, jnp.float32)),
        (loss, grads, scores, weight),
    )
    start = (extras, zeros)
    (extras, totals), _ = jax.lax.scan(add, start, (jnp.arange(count), parts))
    total_weight = totals[-1]
    share = jnp.where(total_weight > 0, 1.0 / jnp.maximum(total_weight, 1e-30), 0.0)
    loss, grads, scores = jax.tree.map(
        lambda total, like: (total * share).astype(like.dtype),
        totals[:-1],
        (loss, grads, scores),
    )
    return loss, grads, extras, _reweighed(scores, total_weight), total_weight


def _reweighed(scores: dict[str, jax.Array], total: jax.Array) -> dict[str, jax.Array]:
    """Means of scores, with the sum of the weights if the task reports one."""
    return scores | {"weight": total} if "weight" in scores else scores


def _mean_over_devices(axis, loss, grads, extras, scores, weight):
    """Averages what each device found, weighed by its weight (pmap only)."""
    total = jax.lax.psum(weight, axis)
    share = jnp.where(total > 0, weight / jnp.maximum(total, 1e-30), 0.0)
    mean = lambda x: jax.lax.psum(_weighed(share, x).astype(x.dtype), axis)  # noqa: E731
    extras = jax.tree.map(
        lambda x: (
            jax.lax.pmean(x, axis)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else jax.lax.pmax(x, axis)
            if jnp.issubdtype(x.dtype, jnp.integer)
            else x
        ),
        extras,
    )
    loss, grads, scores = jax.tree.map(mean, (loss, grads, scores))
    return loss, grads, extras, _reweighed(scores, total), total


def kept(opt_state: Any, name: str) -> list[Any]:
    """Returns what the transforms keep under a name: a field of their state.

    Entries of params have names too, which transforms copy with them; those are keys
    of a dict and do not count.
    """
    found = optax.tree.get_all_with_path(opt_state, name)
    field = optax.tree_utils.NamedTupleKey
    return [value for path, value in found if path and isinstance(path[-1], field)]


def make_step(
    task: Task,
    tx: optax.GradientTransformation,
    *,
    seed: int,
    wrap: Sequence[Callable] = (),
    micro_batches: int = 1,
    compute_dtype: Any = jnp.float32,
    max_skips: int = 0,
    axis_name: str | None = None,
) -> Callable[[State, Mapping[str, jax.Array]], tuple[State, dict[str, jax.Array]]]:
    """Returns the pure function ``(state, batch) -> (state, scores)``.

    A loss ``[K]`` gives gradients with a leading axis K, which the first transform of
    `tx` must remove. The transform is offered ``value``, ``grad`` and ``value_fn``.

    An update with anything non-finite in its loss, gradients, updates or extras is not
    made: the state stays bit for bit as it was, save for its step and counters. After
    more than `max_skips` such updates in a row the state is frozen, its step included.

    Args:
      task: gives the loss.
      tx: any optax transform.
      seed: the randomness of step t is ``fold_in(key(seed), t)``.
      wrap: functions from loss to loss, applied in order.
      micro_batches: splits each batch; gradients and scores are averaged with the
        score ``weight``, so that the update is that of the whole batch.
      compute_dtype: of params and floating inputs inside the loss; the params that are
        updated, and their gradients, keep their own.
      max_skips: non-finite updates in a row that are passed over.
      axis_name: under `jax.pmap`, the axis to average over.

    Returns:
      A function whose scores are those of the task and ``loss`` (the sum of K),
      ``grad_norm``, ``update_norm``, ``param_norm``, the transforms' own, and
      ``nonfinite``: -1, or the place in `culprits` of the first that is not finite.

    Raises:
      ValueError: when traced, if `micro_batches` does not divide the batch, the extras
        change their shape, or updates and params differ.
    """
    for name, value, least in (
        ("micro_batches", micro_batches, 1),
        ("max_skips", max_skips, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    tx = optax.with_extra_args_support(tx)
    objective = _objective(task, wrap, compute_dtype)

    def measure(params, extras, batch, rng):
        found = _accumulate(objective, params, extras, batch, rng, micro_batches)
        return _mean_over_devices(axis_name, *found) if axis_name else found

    def step(state: State, batch):
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        if axis_name:
            rng = jax.random.fold_in(rng, jax.lax.axis_index(axis_name))

        def value(params):
            return _value(objective, params, state.extras, batch, rng, micro_batches)

        loss, grads, extras, scores, _ = measure(state.params, state.extras, batch, rng)
        updates, opt_state = tx.update(
            grads, state.opt_state, state.params, value=loss, grad=grads, value_fn=value
        )
        hint = "did no transform merge the objectives?" if loss.ndim else ""
        _same(updates, state.params, "updates and params differ", hint, jnp.shape)
        params = optax.apply_updates(state.params, updates)
        for more in kept(opt_state, "scores"):
            scores = scores | more

        squares = [_squares(grads), _squares(updates), _squares(extras)]
        alarm = jnp.isfinite(jnp.sum(loss))[None]
        fine = jnp.concatenate([alarm, *map(jnp.isfinite, squares)])
        bad = ~jnp.all(fine)
        norms = [jnp.sqrt(jnp.sum(x)) for x in (*squares[:2], _squares(params))]
        scores |= dict(
            zip(("grad_norm", "update_norm", "param_norm"), norms, strict=True)
        )
        scores |= {"loss": jnp.sum(loss)}
        scores |= {"nonfinite": jnp.where(bad, jnp.argmin(fine), -1)}

        counters = state.counters
        frozen = counters["skipped_in_row"] > max_skips
        in_row = jnp.where(bad, counters["skipped_in_row"] + 1, 0)
        in_row = jnp.where(frozen, counters["skipped_in_row"], in_row)
        count = counters["skipped"] + (bad & ~frozen)
        stays = bad | frozen
        keep = partial(jax.tree.map, lambda new, old: jnp.where(stays, old, new))
        halted = in_row > max_skips
        after = State(
            jnp.where(halted, state.step, state.step + 1),
            keep(params, state.params),
            keep(extras, state.extras),
            keep(opt_state, state.opt_state),
            counters | {"skipped": count, "skipped_in_row": in_row},
        )
        return after, scores

    return step


def _value(objective, params, extras, batch, rng, count):
    """The loss of the whole batch alone, for transforms that ask for it."""
    if count == 1:
        return objective(params, extras, batch, rng)[0]

    def one(inputs):
        index, part = inputs
        key = jax.random.fold_in(rng, index)
        loss, (_, _, weight) = objective(params, extras, part, key)
        return _weighed(weight, loss), weight

    losses, weights = jax.lax.map(one, (jnp.arange(count), _parts(batch, count)))
    return jnp.sum(losses, axis=0) / jnp.maximum(jnp.sum(weights), 1e-30)
