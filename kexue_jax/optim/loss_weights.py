"""Merges whose weights come from the values of the losses alone.

Each needs the losses as ``update(..., value=losses)``, as the loop gives them. Those
that divide by a loss or take its logarithm raise it to `floor` first, where it is at or
below; the score ``losses_at_floor`` counts how many were.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.algorithms.generalized_mean import generalized_mean
from kexue_jax.optim import objectives as many

FLOOR = 1e-8
CLAMPED = ("losses_at_floor",)


def check_floor(floor: float) -> None:
    """Refuses a floor that is not positive."""
    if not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}")


def above(losses: jax.Array, floor: float) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the losses, at least `floor`, and the count of those that were not."""
    return jnp.maximum(losses, floor), {CLAMPED[0]: jnp.sum(losses <= floor)}


def initial_loss_weights(
    objectives: int, *, batches: int = 1, floor: float = FLOOR, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k g_k / L_k(\text{start})`.

    The losses at the start are those of the first batches, kept in the state. A factor
    on a loss then does not matter; a constant added to it does.

    Args:
      objectives: K.
      batches: how many the start is; until then the mean so far serves.
      floor, shared_mask: as in this module and in `objectives.merge`.

    Source: https://kexue.fm/archives/8870
    """
    check_floor(floor)
    if batches < 1:
        raise ValueError(f"batches must be at least 1, got {batches}")

    def weigh(gram, losses, memory):
        del gram
        total, count = memory
        early = count < batches
        total = jnp.where(early, total + losses, total)
        count = jnp.where(early, count + 1, count)
        start, found = above(total / count, floor)
        return 1.0 / start, (total, count), found

    def memory():
        return jnp.zeros(objectives, jnp.float32), jnp.zeros((), jnp.int32)

    return _by_losses(weigh, objectives, shared_mask, memory)


def prior_loss_weights(
    priors: Sequence[float], *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k g_k / L_k(\text{prior})`, for losses known beforehand.

    What the best constant answer costs: the entropy of the labels for a
    classification, the variance for a regression; or :math:`\log C` for C classes and
    the mean square, what zeros cost.

    Args:
      priors: one positive number an objective.

    Raises:
      ValueError: if one is not positive.

    Source: https://kexue.fm/archives/8870
    """
    priors = tuple(priors)
    if not all(prior > 0 and math.isfinite(prior) for prior in priors):
        raise ValueError(f"priors must be positive numbers, got {priors}")

    def weigh(gram, losses, memory):
        del gram, losses
        return 1.0 / jnp.asarray(priors, jnp.float32), memory, {}

    return many.merge(
        weigh, objectives=len(priors), needs_gram=False, shared_mask=shared_mask
    )


def real_time_loss_weights(
    objectives: int, *, floor: float = FLOOR, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k g_k / L_k = \nabla \sum_k \log L_k`.

    The direction of the gradient of the geometric mean (GLS). A factor on a loss does
    not matter; a constant added to it does. Near 0 a loss takes all the weight.

    Source: https://kexue.fm/archives/8870
    """
    check_floor(floor)

    def weigh(gram, losses, memory):
        del gram
        losses, found = above(losses, floor)
        return 1.0 / losses, memory, found

    return _by_losses(weigh, objectives, shared_mask)


def generalized_mean_weights(
    objectives: int,
    *,
    power: float = 0.0,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the gradient of :math:`M = (\frac1K \sum_k L_k^p)^{1/p}`.

    Its weights are :math:`\frac1K (L_k / M)^{p - 1}`: equal at p = 1; the greatest loss
    takes all at infinity, the least at minus infinity. Only at p = 0, the geometric
    mean, does the direction not depend on factors of the losses.

    Args:
      power: p; `float("inf")` is allowed.

    Source: https://kexue.fm/archives/8870
    """
    check_floor(floor)
    if math.isnan(power):
        raise ValueError("power must be a number, got nan")

    def weigh(gram, losses, memory):
        del gram
        losses, found = above(losses, floor)
        mean = generalized_mean(losses, power=power)
        if math.isinf(power):
            ties = (losses == mean).astype(jnp.float32)
            return ties / jnp.sum(ties), memory, found
        ratio = jnp.log(losses) - jnp.log(mean)
        return jnp.exp((power - 1.0) * ratio) / objectives, memory, found

    return _by_losses(weigh, objectives, shared_mask)


def uncertainty_weights(
    objectives: int,
    *,
    learning_rate: float = 0.025,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k g_k / (2 e^{s_k})`, each s learned (UW).

    s descends on :math:`L_k / (2 e^{s_k}) + s_k / 2` by Adam, from -0.5. At its best,
    :math:`s_k = \log L_k`, this is half of `real_time_loss_weights`.

    Source: https://arxiv.org/abs/1705.07115; https://kexue.fm/archives/8870 shows the
      equality. Here s has an Adam of its own.
    """

    def slope(s, losses):
        return 0.5 - 0.5 * losses * jnp.exp(-s), 0.5 * jnp.exp(-s)

    return _learned(slope, -0.5, objectives, learning_rate, floor, shared_mask)


def imtl_l(
    objectives: int,
    *,
    learning_rate: float = 0.025,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k e^{s_k} g_k`, each s learned (IMTL-L).

    s descends on :math:`e^{s_k} L_k - s_k` by Adam, from 0. At its best,
    :math:`s_k = -\log L_k`, this is `real_time_loss_weights`.

    Source: L. Liu et al., Towards impartial multi-task learning, ICLR 2021.
    """

    def slope(s, losses):
        return jnp.exp(s) * losses - 1.0, jnp.exp(s)

    return _learned(slope, 0.0, objectives, learning_rate, floor, shared_mask)


def _learned(slope, start, objectives, learning_rate, floor, shared_mask):
    """Weights of a learned s; `slope` gives its gradient and its weights."""
    check_floor(floor)
    adam = optax.adam(learning_rate)

    def memory():
        s = jnp.full(objectives, start, jnp.float32)
        return s, adam.init(s)

    def weigh(gram, losses, memory):
        del gram
        s, state = memory
        losses, found = above(losses, floor)
        gradient, weights = slope(s, losses)
        change, state = adam.update(gradient, state)
        return weights, (s + change, state), found

    return _by_losses(weigh, objectives, shared_mask, memory)


class Speeds(NamedTuple):
    """Means of the losses in the last two periods, and the sum in this one."""

    total: jax.Array
    count: jax.Array
    last: jax.Array
    before: jax.Array
    periods: jax.Array


def dynamic_weight_average(
    objectives: int,
    *,
    temperature: float = 2.0,
    every: int = 1,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k w_k g_k`, :math:`w = K\,\mathrm{softmax}(r / T)` (DWA).

    :math:`r_k` is the mean loss of the last period over that of the one before: what
    falls slowly gains weight. Weights are 1 in the first two periods.

    Args:
      temperature: T, positive.
      every: updates in a period; an epoch in the paper.

    Source: https://arxiv.org/abs/1803.10704
    """
    check_floor(floor)
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")

    def weigh(gram, losses, memory):
        del gram
        last, found = above(memory.last, floor)
        ratio = last / above(memory.before, floor)[0]
        known = memory.periods >= 2
        ratio = jnp.where(known, ratio, 1.0)
        weights = objectives * jax.nn.softmax(ratio / temperature)
        total, count = memory.total + losses, memory.count + 1
        full = count >= every
        after = Speeds(
            jnp.where(full, 0.0, total),
            jnp.where(full, 0, count),
            jnp.where(full, total / every, memory.last),
            jnp.where(full, memory.last, memory.before),
            jnp.where(full, jnp.minimum(memory.periods + 1, 2), memory.periods),
        )
        found = {name: jnp.where(known, x, 0) for name, x in found.items()}
        return weights, after, found

    def memory():
        # arrays of their own, so that all may be given up to a compiled step
        sums = [jnp.zeros(objectives, jnp.float32) for _ in range(3)]
        counts = [jnp.zeros((), jnp.int32) for _ in range(2)]
        return Speeds(sums[0], counts[0], sums[1], sums[2], counts[1])

    return _by_losses(weigh, objectives, shared_mask, memory)


def random_loss_weights(
    objectives: int, *, seed: int = 0, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k w_k g_k`, w the softmax of new normal draws (RLW).

    Args:
      seed: of the draws; the state keeps the key's two words.

    Source: https://arxiv.org/abs/2111.10603
    """

    def weigh(gram, losses, memory):
        del gram, losses
        after, now = jax.random.split(jax.random.wrap_key_data(memory))
        weights = jax.nn.softmax(jax.random.normal(now, (objectives,), jnp.float32))
        return weights, jax.random.key_data(after), {}

    return many.merge(
        weigh,
        objectives=objectives,
        memory=lambda: jax.random.key_data(jax.random.key(seed)),
        needs_gram=False,
        shared_mask=shared_mask,
    )


class FamoState(NamedTuple):
    """The weights before softmax, their optimizer, and the wrapped transform."""

    logits: jax.Array
    adam: Any
    inner: Any
    scores: dict[str, jax.Array]


def famo(
    inner: optax.GradientTransformation,
    objectives: int,
    *,
    learning_rate: float = 0.025,
    weight_decay: float = 1e-3,
    least: Sequence[float] | None = None,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Weighs so that all losses fall alike in logarithm (FAMO); wraps a transform.

    With :math:`z = \mathrm{softmax}(w)` and :math:`D_k = L_k - b_k` the weights are
    :math:`(z_k / D_k) / \sum_j z_j / D_j`. After the step of `inner` the losses are
    measured again on the same batch, and w descends by Adam along
    :math:`J^\top \delta`, J the Jacobian of the softmax and :math:`\delta_k` how far
    :math:`\log D_k` fell: what fell most loses weight.

    Args:
      inner: makes the step from the merged gradients, such as ``optax.adam(1e-3)``.
      objectives: K.
      learning_rate, weight_decay: of w; the decay is coupled, as in the paper's Adam.
      least: b, the least possible losses; 0 by default.
      floor: D is at least this.

    Raises:
      ValueError: if `least` has not K numbers; when traced, without ``value``,
        ``value_fn`` or params.

    Numerics: one more evaluation of the losses an update, no more gradients. Not under
      `jax.pmap`, where ``value_fn`` sees the batch of one device only.
    Source: https://arxiv.org/abs/2306.03792
    """
    check_floor(floor)
    many.check_count(objectives)
    least = (0.0,) * objectives if least is None else tuple(least)
    if len(least) != objectives:
        raise ValueError(f"least must have {objectives} numbers, got {least}")
    inner = optax.with_extra_args_support(inner)
    adam = optax.chain(
        optax.add_decayed_weights(weight_decay), optax.adam(learning_rate)
    )

    def init(params):
        logits = jnp.zeros(objectives, jnp.float32)
        scores = many.no_scores(objectives, CLAMPED)
        return FamoState(logits, adam.init(logits), inner.init(params), scores)

    def update(updates, state, params=None, *, value=None, value_fn=None, **extra):
        many.check(updates, params, objectives)
        losses = many.check_losses(value, objectives)
        if params is None or value_fn is None:
            raise ValueError(
                "famo measures the losses after its step: call update(updates, state, "
                "params, value=losses, value_fn=function)"
            )
        bounds = jnp.asarray(least, jnp.float32)
        now, found = above(losses - bounds, floor)
        z = jax.nn.softmax(state.logits)
        weights = (z / now) / jnp.sum(z / now)
        shared = many.shared_leaves(updates, shared_mask)
        merged = many.combine(weights, updates, shared)
        extra |= {"value": value, "value_fn": value_fn}
        step, inner_state = inner.update(merged, state.inner, params, **extra)
        later = many.check_losses(
            value_fn(optax.apply_updates(params, step)), objectives
        )
        later, _ = above(later - bounds, floor)
        fell = jnp.log(now) - jnp.log(later)
        gradient = z * (fell - jnp.vdot(z, fell))
        change, adam_state = adam.update(gradient, state.adam, state.logits)
        scores = many.scores_of(weights, found)
        return step, FamoState(state.logits + change, adam_state, inner_state, scores)

    return optax.GradientTransformationExtraArgs(init, update)


def _by_losses(weigh, objectives, shared_mask, memory=tuple):
    return many.merge(
        weigh,
        objectives=objectives,
        memory=memory,
        certificates=CLAMPED,
        needs_losses=True,
        needs_gram=False,
        shared_mask=shared_mask,
    )
