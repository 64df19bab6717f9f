"""Merges that look for a direction good for all, from the inner products alone.

Of the score ``duality_gap`` each says what it bounds; at 0 the direction is exact.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kexue_jax.algorithms.conflict_averse import conflict_averse_weights
from kexue_jax.algorithms.dual_cone import dual_cone_projection
from kexue_jax.algorithms.min_norm import (
    min_norm_by_averaging,
    min_norm_by_frank_wolfe,
    min_norm_point,
)
from kexue_jax.algorithms.nash_bargaining import nash_bargaining
from kexue_jax.optim import objectives as many

GAP = ("duality_gap",)


def _by_gram(weigh, objectives, shared_mask, certificates=()):
    """`weigh` goes from inner products to weights and certificates."""

    def keeping(gram, losses, memory):
        del losses
        weights, found = weigh(gram)
        return weights, memory, found

    return many.merge(
        keeping,
        objectives=objectives,
        certificates=certificates,
        shared_mask=shared_mask,
    )


def mgda(
    objectives: int, *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the shortest vector u of the convex hull of the gradients (MGDA).

    :math:`\langle g_k, u\rangle \ge \|u\|^2` for every k, so a small step along -u
    raises no loss; u is 0 where no direction lowers all. It depends on the units of the
    losses: the shortest gradient has the say.

    Args:
      objectives: K, up to a hundred or so; `mgda_by_frank_wolfe` beyond.
      shared_mask: as in `objectives.merge`.

    Numerics: an exact active set; ``duality_gap`` is :math:`\|u\|^2 - \min_k \langle
      g_k, u\rangle`.
    Source: https://kexue.fm/archives/8896; J.-A. Desideri, 2012;
      https://arxiv.org/abs/1810.04650
    """

    def weigh(gram):
        found = min_norm_point(gram)
        return found.weights, {GAP[0]: found.gap}

    return _by_gram(weigh, objectives, shared_mask, GAP)


def mgda_by_frank_wolfe(
    objectives: int, *, steps: int = 100, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    """As `mgda`, by `steps` steps of Frank and Wolfe: for very many objectives."""

    def weigh(gram):
        found = min_norm_by_frank_wolfe(gram, steps=steps)
        return found.weights, {GAP[0]: found.gap}

    return _by_gram(weigh, objectives, shared_mask, GAP)


def mgda_by_averaging(
    objectives: int, *, steps: int = 100, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""As `mgda`, by :math:`u \leftarrow (k u + g_\tau) / (k + 1)`, as the post has it.

    :math:`\tau` is the objective that gains least from u.

    Source: https://kexue.fm/archives/8896, starting from the mean of the gradients.
    """

    def weigh(gram):
        found = min_norm_by_averaging(gram, steps=steps)
        return found.weights, {GAP[0]: found.gap}

    return _by_gram(weigh, objectives, shared_mask, GAP)


def main_objective(
    objectives: int, *, main: int = 0, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the vector nearest to the main gradient that raises no other loss.

    :math:`u = g_0 + \sum_k \lambda_k g_k`, nearest to :math:`g_0` among those with
    :math:`\langle u, g_k\rangle \ge 0`. Without conflict it is :math:`g_0`.

    Args:
      objectives: K.
      main: which is :math:`g_0`.
      shared_mask: as in `objectives.merge`.

    Numerics: exact, by non-negative least squares; the iteration of the post is not.
    Source: https://kexue.fm/archives/8907
    """
    many.check_count(objectives)
    if not 0 <= main < objectives:
        raise ValueError(f"main must be in [0, {objectives}), got {main}")
    others = np.delete(np.arange(objectives), main)

    def weigh(gram):
        system, cross = gram[np.ix_(others, others)], gram[main, others]
        weights = jnp.zeros(objectives, gram.dtype).at[main].set(1.0)
        return weights.at[others].set(dual_cone_projection(system, cross)), {}

    return _by_gram(weigh, objectives, shared_mask)


def constrained_mgda(
    objectives: int, *, constraints: Sequence[int], shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the shortest :math:`\sum_i a_i g_i + \sum_j \lambda_j g_j`.

    The a are non-negative and sum to 1 over the objectives that should gain, the
    :math:`\lambda` are non-negative, for those that only must not lose. Without
    constraints this is `mgda`; with a single one that should gain, `main_objective`.

    Args:
      objectives: K.
      constraints: the places of those that must not lose; not all.
      shared_mask: as in `objectives.merge`.

    Numerics: exact; ``duality_gap`` also counts how far a constraint is violated.
    Source: https://kexue.fm/archives/8907
    """
    many.check_count(objectives)
    constraints = sorted(set(constraints))
    inside = all(0 <= j < objectives for j in constraints)
    if not inside or len(constraints) == objectives:
        raise ValueError(
            f"constraints must be some, not all, of 0 ... {objectives - 1}, got "
            f"{constraints}"
        )
    points = np.isin(np.arange(objectives), constraints, invert=True)

    def weigh(gram):
        found = min_norm_point(gram, points)
        return found.weights, {GAP[0]: found.gap}

    return _by_gram(weigh, objectives, shared_mask, GAP)


def upgrad(
    objectives: int, *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the mean of the gradients, each made to agree with all others (UPGrad).

    Each is replaced by the nearest vector with no negative inner product with any
    gradient, as in `main_objective`; so no loss rises along minus their mean.

    Source: https://arxiv.org/abs/2406.16232, exact in place of a regularised solver.
    """

    def weigh(gram):
        moved = jax.vmap(dual_cone_projection, in_axes=(None, 0))(gram, gram)
        return jnp.mean(moved + jnp.eye(objectives, dtype=gram.dtype), axis=0), {}

    return _by_gram(weigh, objectives, shared_mask)


def cagrad(
    objectives: int, *, radius: float = 0.5, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the direction best for the worst-off, near the mean (CAGrad).

    :math:`d / (1 + c^2)`, d being the solution of :math:`\max_d \min_k \langle g_k,
    d\rangle` within :math:`c \|g_0\|` of the mean :math:`g_0`.

    Args:
      objectives: K.
      radius: c; 0 is the mean of the gradients.
      shared_mask: as in `objectives.merge`.

    Source: https://arxiv.org/abs/2110.14048, with its rescaling 1; solved exactly.
    """
    if radius < 0:
        raise ValueError(f"radius must not be negative, got {radius}")

    def weigh(gram):
        return conflict_averse_weights(gram, radius=radius) / (1.0 + radius**2), {}

    return _by_gram(weigh, objectives, shared_mask)


def imtl_g(
    objectives: int, *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the sum, with weights that sum to 1, of equal parts in all (IMTL-G).

    u has the same inner product with every unit gradient: the weights are
    :math:`K^{+} n` over their sum, n being the norms. They may be negative, and large
    where that sum is near 0.

    Numerics: by eigenvectors of the cosines, those below K eps left out, so parallel
    gradients are fine; a gradient of 0 has weight 0.
    Source: L. Liu et al., Towards impartial multi-task learning, ICLR 2021.
    """

    def weigh(gram):
        unit, cosines = _cosines(gram)
        moving = (unit > 0).astype(gram.dtype)
        weights = unit * _least_squares(cosines, moving)
        total, size = jnp.sum(weights), jnp.sum(jnp.abs(weights))
        sound = jnp.abs(total) > objectives * jnp.finfo(gram.dtype).eps * size
        return jnp.where(sound, weights / jnp.where(sound, total, 1.0), 0.0), {}

    return _by_gram(weigh, objectives, shared_mask)


def nash_mtl(
    objectives: int, *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the bargaining solution :math:`\sum_k a_k g_k`, :math:`K a = 1/a`.

    Its length is :math:`\sqrt K` whatever the gradients: no factor on a loss changes
    anything. ``equation_error`` is the greatest :math:`|a_k (K a)_k - 1|`, near 1 where
    there is no solution and u is near 0.

    Source: https://arxiv.org/abs/2202.01017, solved at every step and to the end, by
      Newton's method; `optax.clip_by_global_norm(1.0)` next in the chain is its
      ``max_norm``.
    """

    def weigh(gram):
        weights = nash_bargaining(gram)
        off = jnp.abs(weights * (gram @ weights) - 1.0)
        off = jnp.where(jnp.diagonal(gram) > 0, off, 0.0)
        return weights, {"equation_error": jnp.max(off)}

    return _by_gram(weigh, objectives, shared_mask, ("equation_error",))


def aligned_mtl(
    objectives: int, *, shared_mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    r"""Returns the sum of the gradients made orthogonal and alike (Aligned-MTL).

    With :math:`K = V \Lambda V^\top`, the weights are the column sums of
    :math:`\sqrt{\lambda_{\min}}\, V \Lambda^{-1/2} V^\top`, over the eigenvalues above
    K eps times the largest.

    Source: D. Senushkin et al., Independent component alignment for multi-task
      learning, CVPR 2023.
    """

    def weigh(gram):
        values, vectors = jnp.linalg.eigh(gram)
        kept = values > objectives * jnp.finfo(gram.dtype).eps * values[-1]
        kept &= values > 0
        least = jnp.min(jnp.where(kept, values, jnp.inf), initial=jnp.inf)
        shrink = jnp.where(kept, jnp.sqrt(least / jnp.where(kept, values, 1.0)), 0.0)
        shrink = jnp.where(jnp.any(kept), shrink, 0.0)
        return vectors @ (shrink * jnp.sum(vectors, axis=0)), {}

    return _by_gram(weigh, objectives, shared_mask)


def _cosines(gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One over each norm, 0 for a norm of 0, and the matrix of cosines."""
    squares = jnp.diagonal(gram)
    moves = squares > 0
    unit = jnp.where(moves, jax.lax.rsqrt(jnp.where(moves, squares, 1.0)), 0.0)
    return unit, gram * unit[:, None] * unit[None, :]


def _least_squares(matrix: jax.Array, right: jax.Array) -> jax.Array:
    """The shortest solution of a symmetric semidefinite system."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > len(values) * jnp.finfo(matrix.dtype).eps * values[-1]
    kept &= values > 0
    inverse = jnp.where(kept, 1.0 / jnp.where(kept, values, 1.0), 0.0)
    return vectors @ (inverse * (right @ vectors))
