"""Merges whose weights come from the norms of the gradients and from the losses.

The plainest is the sum of unit gradients, `surgery.sum_unit_gradients`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kexue_jax.optim import objectives as many
from kexue_jax.optim.loss_weights import CLAMPED, FLOOR, above, check_floor


class GradNormMemory(NamedTuple):
    """The weights before softmax, their optimizer, and the first losses."""

    logits: jax.Array
    adam: Any
    initial: jax.Array
    count: jax.Array


def gradnorm(
    objectives: int,
    *,
    alpha: float = 1.5,
    learning_rate: float = 0.025,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns :math:`\sum_k w_k g_k` with w learned to balance the norms (GradNorm).

    :math:`w = K\,\mathrm{softmax}(s)`, and s descends by Adam on
    :math:`\sum_k \big|\,\|w_k g_k\| - \bar n\, r_k^\alpha\big|`, where :math:`\bar n`
    is the mean of the weighted norms, held fixed, and :math:`r_k` how much is left of
    the loss, :math:`L_k / L_k(\text{start})`, relative to the mean of these.

    Args:
      objectives: K.
      alpha: how much more weight what lags behind should get.
      learning_rate: of s.
      floor: losses and the first ones are at least this.
      shared_mask: as in `objectives.merge`; the norms are those of shared parameters.

    Source: https://arxiv.org/abs/1711.02257, with the first batch as the start.
    """
    check_floor(floor)
    adam = optax.adam(learning_rate)

    def weigh(gram, losses, memory):
        losses, found = above(losses, floor)
        initial = jnp.where(memory.count == 0, losses, memory.initial)
        left = losses / initial
        z = jax.nn.softmax(memory.logits)
        weights = objectives * z
        norms = jnp.sqrt(jnp.maximum(jnp.diagonal(gram), 0.0).astype(jnp.float32))
        target = jnp.mean(weights * norms) * (left / jnp.mean(left)) ** alpha
        push = jnp.sign(weights * norms - target) * norms
        gradient = weights * (push - jnp.vdot(z, push))
        change, state = adam.update(gradient, memory.adam)
        count = jnp.minimum(memory.count + 1, 1)
        after = GradNormMemory(memory.logits + change, state, initial, count)
        return weights, after, found

    def memory():
        # arrays of their own, so that all may be given up to a compiled step
        first, zeros = (jnp.zeros(objectives, jnp.float32) for _ in range(2))
        count = jnp.zeros((), jnp.int32)
        return GradNormMemory(first, adam.init(first), zeros, count)

    return many.merge(
        weigh,
        objectives=objectives,
        memory=memory,
        certificates=CLAMPED,
        needs_losses=True,
        shared_mask=shared_mask,
    )


def db_mtl(
    objectives: int,
    *,
    decay: float = 0.9,
    floor: float = FLOOR,
    shared_mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    r"""Returns a sum of smoothed gradients, each as long as the longest (DB-MTL).

    The gradients of :math:`\log(L_k + \varepsilon)` are averaged, from zeros and
    without correction, into :math:`m_k`; the update is
    :math:`\sum_k m_k \max_j \|m_j\| / \|m_k\|`.

    Args:
      objectives: K.
      decay: of the average, in [0, 1).
      floor: :math:`\varepsilon`; a loss below 0 counts as 0.
      shared_mask: as in `objectives.merge`; only shared leaves are averaged, heads get
        the plain sum.

    Numerics: the averages are float32, one per objective: K times the parameters.
    Source: https://arxiv.org/abs/2308.12029
    """
    check_floor(floor)
    many.check_count(objectives)
    if not 0 <= decay < 1:
        raise ValueError(f"decay must be in [0, 1), got {decay}")

    def init(params):
        def zeros(p, use):
            if not use:
                return jnp.zeros((0,), jnp.float32)
            return jnp.stack([jnp.zeros_like(p, jnp.float32)] * objectives)

        memory = jax.tree.map(zeros, params, many.shared_leaves(params, shared_mask))
        scores = many.no_scores(objectives, CLAMPED)
        return many.ObjectivesState(memory, scores)

    def update(updates, state, params=None, *, value=None, **extra):
        del extra
        many.check(updates, params, objectives)
        losses = many.check_losses(value, objectives)
        shared = many.shared_leaves(updates, shared_mask)
        found = {CLAMPED[0]: jnp.sum(losses <= floor)}
        rates = (1.0 - decay) / (jnp.maximum(losses, 0.0) + floor)

        def mix(m, g, use):
            if not use:
                return m
            new = rates.reshape(-1, *[1] * (g.ndim - 1)) * g.astype(jnp.float32)
            return decay * m + new

        memory = jax.tree.map(mix, state.memory, updates, shared)
        squares = jnp.diagonal(many.gram(memory, shared, objectives))
        norms = jnp.sqrt(squares)
        weights = jnp.max(norms) / jnp.maximum(norms, floor)

        def chosen(m, g, use):
            return m if use else g

        source = jax.tree.map(chosen, memory, updates, shared)
        merged = jax.tree.map(
            lambda u, g: u.astype(g.dtype),
            many.combine(weights, source, shared),
            updates,
        )
        return merged, many.ObjectivesState(memory, many.scores_of(weights, found))

    return optax.GradientTransformationExtraArgs(init, update)
